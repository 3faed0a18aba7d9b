set -e
export GIT_AUTHOR_DATE='2023-11-14T22:13:20Z' GIT_COMMITTER_DATE='2023-11-14T22:13:20Z' HOME=/tmp/home
mkdir -p /tmp/home /tmp/git/origin && cd /tmp/git/origin
git config --global user.name Name && git config --global user.email name@example.org && git config --global init.defaultBranch main && git config --global advice.detachedHead false
git init --quiet && seq 1 500 | while read n; do mkdir -p d$((n % 9)); echo $n > d$((n % 9))/$n; done
ln -s d1/1 link && chmod 755 d1/1 && git add . && git commit --quiet -m one && git rev-parse HEAD
git checkout --quiet -b side && git mv d2 e2 && echo more >> e2/2 && git commit --quiet -am two && git checkout --quiet main && echo x > new && git add new && git commit --quiet -m three
git merge --quiet side -m merged && git rev-parse HEAD && git gc --quiet --prune=now && git fsck --strict 2>/dev/null && git count-objects -v | grep -c '^count: 0'
cd .. && git clone --quiet origin clone && git -C clone rev-parse HEAD && git clone --quiet --no-local --depth 1 --branch side "file:///tmp/git/origin" shallow && git -C shallow log --oneline | wc -l
git clone --quiet --bare origin bare.git && cd clone && git remote set-url origin ../bare.git && git worktree add --quiet ../tree side && git -C ../tree status --short | wc -l
git tag -a v1 -m tag && git push --quiet origin HEAD:refs/heads/pushed v1 && git ls-remote origin | sort && git stash list | wc -l && git archive HEAD | tar t | wc -l
git format-patch --quiet -1 --stdout side > /tmp/git/p && git checkout --quiet -b patched main~1 && git status --short && git diff --stat HEAD~1 | tail -1
mkdir /srv/clone && chown one /srv/clone && git config --system safe.directory '*' && su one -c 'HOME=/home/one; cd /srv/clone && git clone --quiet --no-hardlinks file:///tmp/git/bare.git . 2>&1 | head -2; git status --short | wc -l'; rm -rf /srv/clone
rm -rf /tmp/git /tmp/home
