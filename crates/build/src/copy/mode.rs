//! `--chmod`: octal, or symbolic as BuildKit reads it (chmod(1) of the BSDs).
use crate::plan::Mode;

/// Reads a mode and checks it.
pub(crate) fn parse(text: &str) -> Result<Mode, String> {
    let octal = || format!("invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777");
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return u32::from_str_radix(text, 8).ok().filter(|m| *m <= 0o7777).map(Mode::Octal).ok_or_else(octal);
    }
    symbolic(text, 0, false).map(|_| Mode::Symbolic(text.to_owned()))
}

/// The permission bits that a file with these bits gets.
pub(crate) fn apply(mode: &Mode, bits: u32, directory: bool) -> u32 {
    match mode {
        Mode::Octal(bits) => *bits,
        Mode::Symbolic(text) => symbolic(text, bits, directory).unwrap_or(bits),
    }
}

/// The permission bits of a directory that is made on the way: BuildKit passes octal digits to mkdir(2), under the
/// umask of its daemon, and symbolic modes not at all.
pub(crate) fn of_made_directory(mode: &Mode) -> u32 {
    match mode {
        Mode::Octal(bits) => bits & 0o755,
        Mode::Symbolic(_) => 0o755,
    }
}

/// All that `a` stands for. The sticky bit belongs to nobody.
const STANDARD: u32 = 0o6777;
const STICKY: u32 = 0o1000;

/// Follows setmode(3) of the BSDs with an umask of 0, as BuildKit's library does: `t` and `s` of `o` alone are
/// passed over, a `t` without a class leaves the rest of its clause without effect, `X` looks at what the file had.
fn symbolic(text: &str, had: u32, directory: bool) -> Result<u32, String> {
    let bad = |why: &str| format!("invalid chmod parameter: '{text}': {why}");
    let had = had & 0o7777;
    let mut bits = had;
    for clause in text.split(',') {
        let end = clause.find(|c| !"ugoa".contains(c)).ok_or_else(|| bad("one of + - = is missing"))?;
        let (classes, mut rest) = clause.split_at(end);
        let mut who = 0;
        for class in classes.chars() {
            who |= match class {
                'u' => 0o4700,
                'g' => 0o2070,
                'o' => 0o0007,
                _ => STANDARD,
            };
        }
        while let Some(operator) = rest.chars().next() {
            if !"+-=".contains(operator) {
                return Err(bad("expected one of + - ="));
            }
            let end = rest[1..].find(['+', '-', '=']).map_or(rest.len(), |i| i + 1);
            let (permissions, tail) = (&rest[1..end], &rest[end..]);
            rest = tail;
            who &= !STICKY;
            let (mut set, mut execute, mut done) = (0, 0, false);
            for permission in permissions.chars() {
                match permission {
                    'r' => set |= 0o444,
                    'w' => set |= 0o222,
                    'x' => set |= 0o111,
                    'X' if directory || had & 0o111 != 0 => execute = 0o111,
                    'X' => {}
                    's' if who == 0 || who & !0o007 != 0 => set |= 0o6000,
                    't' if who == 0 || who & !0o007 != 0 => {
                        who |= STICKY;
                        set |= STICKY;
                    }
                    's' | 't' => {}
                    'u' | 'g' | 'o' => {
                        if set != 0 {
                            bits = changed(bits, operator, who, set);
                            set = 0;
                        }
                        bits = changed(bits, '+', who, std::mem::take(&mut execute));
                        bits = copied(bits, operator, who, permission);
                        done = true;
                    }
                    _ => return Err(bad(&format!("'{permission}' is no permission"))),
                }
            }
            if set != 0 || (operator == '=' && !done) {
                bits = changed(bits, operator, who, set);
            }
            bits = changed(bits, if operator == '-' { '-' } else { '+' }, who, execute);
        }
        if clause.len() == end {
            return Err(bad("one of + - = is missing"));
        }
    }
    Ok(bits)
}

/// One operator for the classes in `who`; 0 stands for all.
fn changed(bits: u32, operator: char, who: u32, set: u32) -> u32 {
    let meant = if who == 0 { set } else { set & who };
    match operator {
        '+' => bits | meant,
        '-' => bits & !meant,
        _ => bits & !(if who == 0 { STANDARD } else { who }) | meant,
    }
}

/// The permissions of one class, given to (or taken from) those in `who`.
fn copied(bits: u32, operator: char, who: u32, from: char) -> u32 {
    let three = 7 & match from {
        'u' => bits >> 6,
        'g' => bits >> 3,
        _ => bits,
    };
    let classes = if who == 0 { 0o777 } else { who & 0o777 };
    let value = (three << 6 | three << 3 | three) & classes;
    match operator {
        '+' => bits | value,
        '-' => bits & !value,
        _ => bits & !classes | value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal() {
        assert_eq!(parse("0755"), Ok(Mode::Octal(0o755)));
        assert_eq!(parse("4755"), Ok(Mode::Octal(0o4755)));
        for bad in ["888", "17777", "u", "u+q", "z=r", ""] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn symbolic_modes() {
        for (text, before, directory, after) in [
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u=rwX,go=rX", 0o700, false, 0o755),
            ("u=rwX,go=rX", 0o700, true, 0o755),
            ("a+x", 0o644, false, 0o755),
            ("go-rwx", 0o755, false, 0o700),
            ("g=u", 0o740, false, 0o770),
            ("u+s", 0o755, false, 0o4755),
            ("+t", 0o755, true, 0o1755),
            ("o=", 0o755, false, 0o750),
            ("u+x,g-r", 0o644, false, 0o704),
            // What follows was read off BuildKit (Docker 28).
            ("+w", 0o644, false, 0o666),
            ("=rw", 0o755, true, 0o666),
            ("=u", 0o644, false, 0o666),
            ("o+t", 0o644, false, 0o644),
            ("o=rt", 0o755, true, 0o754),
            ("g+t", 0o644, false, 0o1644),
            ("g=u+t,u-w", 0o755, true, 0o1575),
            ("u=t", 0o755, true, 0o1055),
            ("=t+r", 0o644, false, 0o1644),
            ("=rt", 0o755, true, 0o1755),
            ("=s", 0o755, true, 0o6000),
            ("a=wt", 0o755, true, 0o1222),
            ("u=rws,g=", 0o644, false, 0o4604),
            ("u=rw+x-r", 0o644, false, 0o344),
            ("a-x,a+X", 0o755, false, 0o755),
        ] {
            assert_eq!(apply(&parse(text).unwrap(), before, directory), after, "{text} on {before:o}");
        }
    }
}
