//! RPM's databases: SQLite and ndb are read; Berkeley DB, which rpm itself gave up in 4.16, is refused with a warning.
use super::{Catalogue, Found, ReadError, Result, Source, dir_of, name_of, ndb, rpmheader, sqlite};

pub(super) struct Rpm;

const PLACES: &[&str] = &["var/lib/rpm", "usr/lib/sysimage/rpm", "usr/share/rpm"];

impl Catalogue for Rpm {
    fn wants(&self, path: &str, head: &[u8]) -> bool {
        PLACES.contains(&dir_of(path))
            && match name_of(path) {
                "rpmdb.sqlite" | "Packages.db" | "Packages" => true,
                "rpmdb.sqlite-wal" => !head.is_empty(),
                _ => false,
            }
    }

    fn limit(&self) -> u64 {
        1 << 30
    }

    fn read(&self, path: &str, content: &mut dyn Source, found: &mut Found) -> Result<()> {
        let unsupported = |why: &str| Err(ReadError::Unsupported(why.to_owned()));
        if name_of(path) == "rpmdb.sqlite-wal" {
            return unsupported(
                "it holds changes that are not in the database yet, and they are not read: run `rpm -qa` in the last step that installs packages, which writes them",
            );
        }
        let mut head = [0; 16];
        content.read_exact(&mut head)?;
        let mut broken: Vec<&'static str> = Vec::new();
        let mut add = |header: &[u8]| match rpmheader::package(header) {
            Ok(package) => found.push(package),
            Err(why) => broken.push(why),
        };
        let result = if head.starts_with(sqlite::MAGIC) {
            sqlite::Database::open(content)?.column("Packages", 1, &mut add)
        } else if head.starts_with(ndb::MAGIC) {
            ndb::blobs(content, &mut add)
        } else if matches!(head[12..16], [0x61, 0x15, 0x06, 0] | [0, 0x06, 0x15, 0x61] | [0x62, 0x31, 0x05, 0]) {
            unsupported(
                "it is a Berkeley DB, which is not read: rebuild it in the image with rpm 4.16 or newer (rpm --rebuilddb)",
            )
        } else {
            unsupported("it is no package database that rpm writes (SQLite or ndb)")
        };
        if let Some(why) = broken.first() {
            found.warnings.push(format!("{} of its packages cannot be read: {why}", broken.len()));
        }
        result
    }
}
