use strict; use warnings; use Fcntl qw(:flock :mode :seek); use File::Temp qw(tempdir tempfile); use IO::Socket::UNIX; use POSIX ();
my $dir = tempdir(CLEANUP => 1); chdir $dir or die;
printf "%o\n", (stat $dir)[2] & 07777;
open my $f, '+>', 'f' or die; print $f "text\n"; $f->flush; chown 5, 6, $f or die; chmod 04750, $f or die; printf "%o %d %d\n", (stat $f)[2, 4, 5];
flock $f, LOCK_EX or die; if (!fork) { open my $g, '<', 'f' or die; exit(flock($g, LOCK_EX | LOCK_NB) ? 1 : 0); } wait; print "lock $?\n";
truncate 'f', 2; seek $f, 0, SEEK_SET; print scalar(<$f>), "\n"; rename 'f', 'g'; link 'g', 'h'; symlink 'h', 'l'; print readlink('l'), ' ', (stat 'l')[3], "\n"; utime 1, 2, 'g'; print join(' ', (stat 'h')[8, 9]), "\n";
my $listen = IO::Socket::UNIX->new(Type => SOCK_STREAM, Local => "$dir/socket", Listen => 1) or die "listen: $!";
if (!fork) { my $c = IO::Socket::UNIX->new(Type => SOCK_STREAM, Peer => "$dir/socket") or die "connect: $!"; print $c "hello\n"; exit 0; }
my $c = $listen->accept; print scalar(<$c>); wait; printf "socket %o\n", S_IFMT((stat 'socket')[2]); unlink 'socket';
if (!fork) { $) = "700 700"; $( = 700; $> = 701; $< = 701; print "$< $>\n"; open(my $s, '<', '/etc/shadow') ? print("read\n") : print("$!\n"); mkdir('/no') ? print("made\n") : print("$!\n"); exit 0; } wait;
local $> = 701; print "effective $> real $<\n"; open(my $s, '<', '/etc/shadow') ? print("read\n") : print("$!\n"); $> = 0; print "back $>\n";
local $SIG{USR1} = sub { print "signal\n" }; kill USR1 => $$; my $set = POSIX::SigSet->new(POSIX::SIGUSR1()); POSIX::sigprocmask(POSIX::SIG_BLOCK(), $set); kill USR1 => $$; print "blocked\n"; POSIX::sigprocmask(POSIX::SIG_UNBLOCK(), $set);
print join(',', (getpwnam 'one')[2, 3, 7]), "\n"; print `id -un`; print -r '/root' ? "r\n" : "-\n"; print POSIX::ttyname(0) // 'no terminal', "\n";
opendir my $d, '.'; print join(' ', sort grep !/^\./, readdir $d), "\n"; print POSIX::getcwd() eq $dir ? "cwd\n" : "elsewhere\n"; chroot '/' or die; print "chroot\n";
chdir '/';
