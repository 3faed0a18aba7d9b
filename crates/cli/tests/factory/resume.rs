//! A run that is killed at any step goes on there, and what others can see happens once.
use super::{Place, TOKEN};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::sync::{Arc, Mutex};

/// A webhook that keeps what it is told.
struct Hook {
    url: String,
    told: Arc<Mutex<Vec<serde_json::Value>>>,
}

impl Hook {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hooks/s3cr3t-p4th", listener.local_addr().unwrap());
        let told: Arc<Mutex<Vec<serde_json::Value>>> = Arc::default();
        let inner = Arc::clone(&told);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut text = Vec::new();
                let mut piece = [0; 4096];
                let body = loop {
                    let n = stream.read(&mut piece).unwrap();
                    assert_ne!(n, 0, "half a request");
                    text.extend_from_slice(&piece[..n]);
                    let all = String::from_utf8_lossy(&text).to_lowercase();
                    let Some((head, body)) = all.split_once("\r\n\r\n") else { continue };
                    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
                    let length: usize = length.parse().unwrap();
                    if body.len() >= length {
                        break text[text.len() - length..].to_vec();
                    }
                };
                inner.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
                stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").unwrap();
            }
        });
        Self { url, told }
    }

    fn take(&self) -> Vec<serde_json::Value> {
        std::mem::take(&mut self.told.lock().unwrap())
    }
}

#[test]
fn killed_at_any_step_a_run_goes_on_and_nothing_outside_happens_twice() {
    let place = Place::new();
    let hook = Hook::start();
    let images = place.read("factory/images.yaml").replacen(
        "rebuildDelay: 0h\n",
        "rebuildDelay: 0h\n  sbom: {format: cyclonedx}\n  signing: {key: cosign.key, required: true}\n  \
         version: {gitTag: true}\n  notify: [{urlEnv: HOOK, on: [success, failure]}]\n",
        1,
    );
    place.write("factory/images.yaml", &images);
    let run = |words: &[&str], kill: Option<&str>| {
        let mut command = place.command(words);
        command.env("HOOK", &hook.url).env("COSIGN_PASSWORD", "pass").env("USER", "ada");
        if let Some(kill) = kill {
            command.env("COOPERAGE_TEST_KILL", kill);
        }
        command.output().unwrap()
    };
    let ok = |words: &[&str]| {
        let output = run(words, None);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    ok(&["key", "generate"]);
    ok(&["factory", "discover"]);
    let commits = || place.git(&["rev-list", "--count", "main"], "app.git").trim().parse::<usize>().unwrap();
    let moments = ["configure", "clone", "build", "push", "sbom", "scan", "sign", "tag", "update", "notify"];
    let kills =
        moments.map(|step| format!("{step}:done")).into_iter().chain(["tag:begin".into(), "notify:begin".into()]);
    for (patch, kill) in kills.enumerate() {
        place.git(&["pull", "-q", "--rebase", "origin", "main"], "work");
        place.write("work/api/server.js", &format!("serve('{kill}')\n"));
        place.commit(&kill);
        let (version, before, log) = (format!("0.1.{patch}"), commits(), place.registry.log().len());
        let output = run(&["factory", "build", "api"], Some(&kill));
        assert_eq!(output.status.signal(), Some(9), "{kill}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(ok(&["factory", "runs", "api"]).contains("interrupted"));
        let table = ok(&["factory", "build", "api", "--resume"]);
        assert!(table.contains(&format!("{version}, latest")), "{kill}: {table}");

        let digest = place.digest(&format!("o/api:{version}"));
        assert_eq!(place.digest("o/api:latest"), digest, "{kill}");
        let log = place.registry.log()[log..].to_owned();
        let tag = digest.replace(':', "-");
        for name in [digest.as_str(), version.as_str(), "latest", &format!("{tag}.sig")] {
            let put = format!("PUT /v2/o/api/manifests/{name} ");
            let times = log.lines().filter(|line| line.contains("HTTP/1.1\" 201") && line.contains(&put)).count();
            assert_eq!(times, 1, "{kill}: {put}\n{log}");
        }
        assert_eq!(commits(), before + 1, "{kill}: commits to the manifests");
        let manifest = place.git(&["show", "main:k8s/kustomization.yml"], "app.git");
        assert!(manifest.contains(&format!("newTag: {version}\n")), "{kill}: {manifest}");
        let tagged = place.git(&["rev-list", "-1", &format!("v{version}")], "app.git");
        assert_eq!(tagged, place.git(&["rev-parse", "HEAD"], "work"), "{kill}");
        // What was noted before the kill is not sent again, so at most once.
        let told = hook.take();
        assert!(told.len() <= 1 && (told.len() == 1 || kill == "notify:begin"), "{kill}: {told:?}");
        if let [one] = &told[..] {
            assert_eq!((&one["event"], &one["version"]), (&"success".into(), &version.as_str().into()));
        }
    }
    // Signature, SBOM and provenance hold, and the registry knows the SBOM as a referrer.
    let image = place.registry.reference("o/api:latest");
    let verified = ok(&["verify", "--key", "cosign.pub", &image]);
    assert!(!verified.is_empty());
    for kind in ["slsaprovenance1", "cyclonedx"] {
        ok(&["verify", "--key", "cosign.pub", "--attestation", kind, &image]);
    }
    // A failure is told, too, and the URL of the webhook is nowhere.
    let output = run(&["factory", "build", "api", "--tag", "0.1.0"], None);
    assert_eq!(output.status.code(), Some(1));
    let told = hook.take();
    assert!(told.len() == 1 && told[0]["event"] == "failure" && told[0]["step"] == "configure", "{told:?}");
    assert_eq!(super::holds(place.dir.path(), b"s3cr3t-p4th"), Vec::<std::path::PathBuf>::new());
    assert_eq!(super::holds(place.dir.path(), TOKEN.as_bytes()), Vec::<std::path::PathBuf>::new());
}
