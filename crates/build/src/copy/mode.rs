//! `--chmod`: octal, or symbolic as chmod(1) has it.
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

const UMASK: u32 = 0o022;

fn symbolic(text: &str, bits: u32, directory: bool) -> Result<u32, String> {
    let bad = |why: &str| format!("invalid chmod parameter: '{text}': {why}");
    let mut bits = bits & 0o7777;
    for clause in text.split(',') {
        let who_end = clause.find(|c| !"ugoa".contains(c)).ok_or_else(|| bad("one of + - = is missing"))?;
        let (who, mut rest) = clause.split_at(who_end);
        let mut mask = 0;
        for c in who.chars() {
            mask |= match c {
                'u' => 0o4700,
                'g' => 0o2070,
                'o' => 0o1007,
                _ => 0o7777,
            };
        }
        let limit = if who.is_empty() { !UMASK } else { 0o7777 };
        if who.is_empty() {
            mask = 0o7777;
        }
        if rest.is_empty() {
            return Err(bad("one of + - = is missing"));
        }
        while let Some(operator) = rest.chars().next() {
            if !"+-=".contains(operator) {
                return Err(bad("expected one of + - ="));
            }
            let end = rest[1..].find(['+', '-', '=']).map_or(rest.len(), |i| i + 1);
            let (permissions, tail) = (&rest[1..end], &rest[end..]);
            rest = tail;
            let mut set = 0;
            for c in permissions.chars() {
                set |= match c {
                    'r' => 0o444,
                    'w' => 0o222,
                    'x' => 0o111,
                    'X' if directory || bits & 0o111 != 0 => 0o111,
                    'X' => 0,
                    's' => 0o6000,
                    't' => 0o1000,
                    'u' => spread(bits >> 6),
                    'g' => spread(bits >> 3),
                    'o' => spread(bits),
                    _ => return Err(bad(&format!("'{c}' is no permission"))),
                };
            }
            set &= mask & limit;
            bits = match operator {
                '+' => bits | set,
                '-' => bits & !set,
                _ => (bits & !(mask & !0o6000 | (mask & 0o6000 & if directory { 0 } else { 0o6000 }))) | set,
            };
        }
    }
    Ok(bits)
}

fn spread(three: u32) -> u32 {
    let three = three & 7;
    three << 6 | three << 3 | three
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
        ] {
            assert_eq!(apply(&parse(text).unwrap(), before, directory), after, "{text} on {before:o}");
        }
    }
}
