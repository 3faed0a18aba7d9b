//! The same source gives the same image, and the same SBOM but for its time.
use std::fs;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::Place;

const DOCKERFILE: &str = "FROM scratch
COPY busybox /bin/sh
COPY --parents lib srv /
RUN : > /srv/made && echo b > /srv/b && echo a > /srv/a
LABEL a=b
";

#[test]
fn two_builds_of_one_source_are_equal() {
    if !testkit::available("two_builds_of_one_source_are_equal", testkit::REGISTRY_TOOLS) {
        return;
    }
    let apk = "P:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT\nF:lib\nR:libc.so\n\n";
    let make = |backwards: bool, age: u64| {
        let place = Place::new(DOCKERFILE);
        let mut files = vec![("lib/apk/db/installed", apk), ("lib/libc.so", "libc"), ("srv/z", "z"), ("srv/y", "y")];
        if backwards {
            files.reverse();
        }
        for (name, content) in files {
            let path = place.path("context").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
            let file = fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
        }
        place
    };
    let build = |place: &Place, env: &[(&str, &str)], to: &str, more: &str| {
        let words = format!("build --sbom -t REG/app:1 -o type=oci,dest=DIR/{to},tar=false{more} context");
        let outcome = place.try_with(env, &words);
        assert!(outcome.ok, "{}", outcome.err);
        let blob = |digest: &Value| -> Value {
            let path = place.path(to).join("blobs").join(digest.as_str().unwrap().replace(':', "/"));
            serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
        };
        let top: Value = serde_json::from_slice(&fs::read(place.path(to).join("index.json")).unwrap()).unwrap();
        let index = blob(&top["manifests"][0]["digest"]);
        let sbom = blob(&blob(&index["manifests"][1]["digest"])["layers"][0]["digest"]);
        (index["manifests"][0]["digest"].clone(), index, sbom)
    };
    // Two machines: other directories, stores, times of files, order in directories, time zones, and registry names.
    let (first, second) = (make(false, 10), make(true, 1000));
    let epoch = ("SOURCE_DATE_EPOCH", "1700000000");
    let rewrite = ",rewrite-timestamp=true";
    let one = build(&first, &[epoch, ("TZ", "Asia/Tokyo")], "one", rewrite);
    let two = build(&second, &[epoch, ("TZ", "America/New_York")], "two", rewrite);
    assert_eq!(one.0, two.0, "image");
    let plain = |place: &Place, sbom: &Value| -> Value {
        let text = sbom
            .to_string()
            .replace(&place.registry.host(), "REG")
            .replace(&place.registry.host().replace(':', "%3A"), "REG");
        let mut value: Value = serde_json::from_str(&text).unwrap();
        // Made of all that the document says, and so of the image's name.
        value["predicate"].as_object_mut().unwrap().remove("documentNamespace");
        value
    };
    assert_eq!(plain(&first, &one.2), plain(&second, &two.2));
    assert_eq!(one.2["predicate"]["creationInfo"]["created"], "2023-11-14T22:13:20Z");

    // One machine, again and again: equal but for the time in the SBOM.
    let (image, _, mut sbom) = build(&first, &[], "three", "");
    let (again, _, mut other) = build(&first, &[("TZ", "Asia/Tokyo")], "four", "");
    assert_eq!(image, again);
    for sbom in [&mut sbom, &mut other] {
        assert!(sbom["predicate"]["creationInfo"].as_object_mut().unwrap().remove("created").is_some());
    }
    assert_eq!(sbom, other);
}
