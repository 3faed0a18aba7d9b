//! Ruby gems: installed specifications and Bundler's lock file.
//!
//! A specification is Ruby code, written by RubyGems itself and so of one shape: `# stub:` names the gem, assignments
//! with literals say the rest. It is never run.
use super::{Catalogue, Found, Result, Source, is_vendored, line, malformed, name_of, text};
use crate::package::{Evidence, Package, PackageType};

/// `…/specifications/NAME-VERSION.gemspec`
pub(super) struct Specification;
/// `Gemfile.lock`
pub(super) struct GemfileLock;

impl Catalogue for Specification {
    fn wants(&self, path: &str, _: &[u8]) -> bool {
        path.ends_with(".gemspec") && (path.contains("/specifications/") || path.starts_with("specifications/"))
    }

    fn limit(&self) -> u64 {
        4 << 20
    }

    fn read(&self, _: &str, content: &mut dyn Source, found: &mut Found) -> Result<()> {
        let text = text(content)?;
        let stub = text.lines().take(5).find_map(|line| line.strip_prefix("# stub: "));
        let mut words = stub.unwrap_or("").split_whitespace();
        let name = words.next().map(str::to_owned).or_else(|| value(&text, "name"));
        let version = words.next().map(str::to_owned).or_else(|| value(&text, "version"));
        let (Some(name), Some(version)) = (name, version) else {
            return malformed("it names no gem or no version");
        };
        let platform = words.next().map(str::to_owned).or_else(|| value(&text, "platform"));
        let mut package = Package::new(PackageType::Gem, name, version, Evidence::Installed);
        package.arch = platform.filter(|platform| platform != "ruby" && !platform.contains("Gem::"));
        package.description = value(&text, "summary").and_then(|s| line(&s));
        package.homepage = value(&text, "homepage").and_then(|s| line(&s));
        package.licenses =
            list(&text, "licenses").or_else(|| value(&text, "license").map(|l| vec![l])).unwrap_or_default();
        found.push(package);
        Ok(())
    }
}

impl Catalogue for GemfileLock {
    fn wants(&self, path: &str, _: &[u8]) -> bool {
        matches!(name_of(path), "Gemfile.lock" | "gems.locked") && !is_vendored(path)
    }

    fn read(&self, _: &str, content: &mut dyn Source, found: &mut Found) -> Result<()> {
        let text = text(content)?;
        let mut in_specs = false;
        for line in text.lines() {
            if !line.starts_with(' ') {
                in_specs = false;
            } else if line.trim_end() == "  specs:" {
                in_specs = true;
            } else if let Some(entry) = line.strip_prefix("    ").filter(|e| in_specs && !e.starts_with(' ')) {
                let Some((name, version)) = entry.split_once(" (") else { continue };
                let version = version.trim_end().trim_end_matches(')');
                // `1.16.0-x86_64-linux`: a version of RubyGems has no dash.
                let (version, platform) = version.split_once('-').map_or((version, None), |(v, p)| (v, Some(p)));
                let mut package = Package::new(PackageType::Gem, name, version, Evidence::Lock);
                package.arch = platform.map(str::to_owned);
                found.push(package);
            }
        }
        Ok(())
    }
}

/// What follows `s.FIELD = `.
fn assigned<'a>(text: &'a str, field: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (left, right) = line.trim().split_once('=')?;
        let (receiver, name) = left.trim().split_once('.')?;
        (name == field && receiver.len() < 16).then(|| right.trim())
    })
}

fn literal(text: &str) -> Option<(String, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let mut out = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => out.extend(chars.next().map(|(_, c)| c)),
            c if c == quote => return Some((out, &text[at + 1..])),
            c => out.push(c),
        }
    }
    None
}

fn value(text: &str, field: &str) -> Option<String> {
    let right = assigned(text, field)?;
    literal(right.strip_prefix("Gem::Version.new(").unwrap_or(right)).map(|(value, _)| value)
}

fn list(text: &str, field: &str) -> Option<Vec<String>> {
    let mut rest = assigned(text, field)?.strip_prefix('[')?;
    let mut out = Vec::new();
    while let Some(at) = rest.find(['"', '\'']) {
        let (value, after) = literal(&rest[at..])?;
        out.push(value);
        rest = after;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    #[test]
    fn specifications_as_rubygems_writes_them() {
        let text = "# -*- encoding: utf-8 -*-\n# stub: rake 13.0.6 ruby lib\n\nGem::Specification.new do |s|\n  s.name = \"rake\".freeze\n  s.version = \"13.0.6\"\n\n  s.licenses = [\"MIT\".freeze, 'Ruby'.freeze]\n  s.homepage = \"https://github.com/ruby/rake\".freeze\n  s.summary = \"Rake is a \\\"Make\\\"-like program\".freeze\nend\n";
        let mut found = Found::default();
        Specification.read("", &mut Cursor::new(text), &mut found).unwrap();
        let rake = &found.packages[0];
        assert_eq!((rake.name.as_str(), rake.version.as_str(), rake.arch.as_deref()), ("rake", "13.0.6", None));
        assert_eq!(rake.licenses, ["MIT", "Ruby"]);
        assert_eq!(rake.description.as_deref(), Some("Rake is a \"Make\"-like program"));
        let plain = "Gem::Specification.new do |s|\n s.name = 'x'\n s.version = Gem::Version.new(\"1.2\")\n s.license = 'ISC'\nend";
        let mut found = Found::default();
        Specification.read("", &mut Cursor::new(plain), &mut found).unwrap();
        assert_eq!((found.packages[0].version.as_str(), found.packages[0].licenses[0].as_str()), ("1.2", "ISC"));
        assert!(Specification.read("", &mut Cursor::new("exit"), &mut Found::default()).is_err());
    }

    #[test]
    fn a_lock_file_lists_specs_not_their_dependencies() {
        let text = "GIT\n  remote: https://x\n  specs:\n    own (0.1)\n      rack (>= 2)\n\nGEM\n  remote: https://rubygems.org/\n  specs:\n    nokogiri (1.16.0-x86_64-linux)\n      racc (~> 1.4)\n    rack (2.2.8)\n\nPLATFORMS\n  x86_64-linux\n\nDEPENDENCIES\n  rack (~> 2)\n";
        let mut found = Found::default();
        GemfileLock.read("", &mut Cursor::new(text), &mut found).unwrap();
        let got: Vec<_> =
            found.packages.iter().map(|p| (p.name.as_str(), p.version.as_str(), p.arch.as_deref())).collect();
        assert_eq!(got, [("own", "0.1", None), ("nokogiri", "1.16.0", Some("x86_64-linux")), ("rack", "2.2.8", None)]);
    }
}
