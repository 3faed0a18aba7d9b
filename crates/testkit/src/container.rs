//! An image from a registry, run: skopeo fetches it, umoci unpacks it, runc starts it.
//!
//! The container shares the host's network, so that a test reaches it on loopback without a bridge. An image for
//! another processor gets qemu into its root, and every command is qemu's.
use crate::Registry;
use crate::bases;
use crate::command::{Error, Guard, Result, output, run, tool, which};
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// An unpacked image, ready to run. Needs root.
#[derive(Debug)]
pub struct Bundle {
    directory: TempDir,
    /// The path of the emulator in the root, where one is needed.
    emulator: Option<&'static str>,
}

/// A running container; dropped, it is killed.
#[derive(Debug)]
pub struct Container {
    _process: Guard,
    bundle: Bundle,
    port: u16,
}

impl Bundle {
    /// Fetches and unpacks an image.
    pub fn pull(registry: &Registry, name: &str) -> Result<Self> {
        Self::pull_for(registry, name, bases::architecture())
    }

    /// Fetches and unpacks the image of an index for an architecture.
    pub fn pull_for(registry: &Registry, name: &str, architecture: &str) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("testkit-bundle-").tempdir().map_err(Error::at("tempdir"))?;
        let layout = directory.path().join("layout");
        registry.pull_layout(name, architecture, &layout)?;
        // skopeo gives an entry no name unless it is asked to, and umoci wants one.
        let index = layout.join("index.json");
        let text = fs::read(&index).map_err(Error::at(index.display()))?;
        let mut value: Value = serde_json::from_slice(&text).map_err(Error::at(index.display()))?;
        value["manifests"][0]["annotations"] = json!({ "org.opencontainers.image.ref.name": "latest" });
        fs::write(&index, value.to_string()).map_err(Error::at(index.display()))?;
        run(tool("umoci", "umoci")?
            .args(["unpack", "--image"])
            .arg(format!("{}:latest", layout.display()))
            .arg(directory.path().join("bundle")))?;
        let emulator = match architecture {
            own if own == bases::architecture() => None,
            "arm64" => Some("qemu-aarch64-static"),
            other => return Err(Error::new(format!("no emulator for {other} is known here"))),
        };
        if let Some(program) = emulator {
            let source = which(program).ok_or_else(|| Error::new(format!("{program} is not installed")))?;
            let target = directory.path().join("bundle/rootfs/emulator");
            fs::copy(source, &target).map_err(Error::at(target.display()))?;
        }
        Ok(Self { directory, emulator: emulator.map(|_| "/emulator") })
    }

    /// Runs a command in it (or the image's own where there is none) to its end, and gives what it printed.
    pub fn run(&self, args: &[&str]) -> Result<String> {
        self.configure(args, &[])?;
        let output = output(&mut self.command("run")?)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        if output.status.success() { Ok(text) } else { Err(Error::new(format!("{}: {text}", output.status))) }
    }

    /// Starts the image's command with `PORT` set to a free port, and waits until it answers there.
    pub fn serve(self) -> Result<Container> {
        let port = crate::free_port()?;
        self.configure(&[], &[format!("PORT={port}")])?;
        let command = self.command("run")?;
        let args: Vec<_> = command.get_args().collect();
        let program = Path::new(command.get_program());
        let mut process = Guard::spawn(program, &args, &self.directory.path().join("log"))?;
        let end = Instant::now() + Duration::from_secs(60);
        while process.alive() && Instant::now() < end {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(Container { _process: process, bundle: self, port });
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
        Err(Error::new(format!("the container does not answer on port {port}:\n{log}")))
    }

    /// A command as the kernel of this machine can run it: qemu looks nothing up in `PATH`.
    fn emulated(&self, args: &[&str]) -> Vec<String> {
        let mut out: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        let Some(emulator) = self.emulator else { return out };
        let root = self.directory.path().join("bundle/rootfs");
        let places = ["usr/local/bin", "usr/bin", "bin", "usr/sbin", "sbin"];
        if let Some(first) = out.first_mut().filter(|first| !first.contains('/'))
            && let Some(place) = places.iter().find(|place| root.join(place).join(&*first).is_file())
        {
            *first = format!("/{place}/{first}");
        }
        out.insert(0, emulator.to_owned());
        out
    }

    fn command(&self, verb: &str) -> Result<Command> {
        let mut command = tool("runc", "runc")?;
        command.arg("--root").arg(self.directory.path().join("state")).arg(verb);
        if verb == "run" {
            command.arg("--bundle").arg(self.directory.path().join("bundle"));
        }
        command.arg(self.id());
        Ok(command)
    }

    fn id(&self) -> String {
        let name = self.directory.path().file_name().unwrap_or_default();
        name.to_string_lossy().chars().filter(char::is_ascii_alphanumeric).collect()
    }

    /// What umoci wrote, less what needs a cgroup, a terminal or a network of its own.
    fn configure(&self, args: &[&str], env: &[String]) -> Result<()> {
        let path = self.directory.path().join("bundle/config.json");
        let original = self.directory.path().join("bundle/original.json");
        if !original.exists() {
            fs::copy(&path, &original).map_err(Error::at(original.display()))?;
        }
        let text = fs::read(&original).map_err(Error::at(original.display()))?;
        let mut config: Value = serde_json::from_slice(&text).map_err(Error::at(path.display()))?;
        let keep = |value: &mut Value, test: &dyn Fn(&Value) -> bool| {
            if let Some(list) = value.as_array_mut() {
                list.retain(test);
            }
        };
        keep(&mut config["linux"]["namespaces"], &|namespace| namespace["type"] != "network");
        keep(&mut config["mounts"], &|mount| mount["destination"] != "/sys/fs/cgroup");
        config["linux"]["resources"] = json!({});
        config["process"]["rlimits"] = json!([]);
        config["process"]["terminal"] = json!(false);
        if !args.is_empty() {
            config["process"]["args"] = json!(args);
        }
        let own = config["process"]["args"].as_array().cloned().unwrap_or_default();
        let own: Vec<&str> = own.iter().filter_map(Value::as_str).collect();
        config["process"]["args"] = json!(self.emulated(&own));
        if let Some(list) = config["process"]["env"].as_array_mut() {
            let name = |line: &str| line.split('=').next().unwrap_or_default().to_owned();
            list.retain(|old| !env.iter().any(|new| name(new) == name(old.as_str().unwrap_or_default())));
            list.extend(env.iter().map(|line| json!(line)));
        }
        fs::write(&path, config.to_string()).map_err(Error::at(path.display()))
    }
}

impl Container {
    /// The body of `GET path`; an error where the status is not 200.
    pub fn get(&self, path: &str) -> Result<String> {
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
            stream.set_read_timeout(Some(Duration::from_secs(20)))?;
            let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes())?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        };
        let text = ask().map_err(Error::at(path))?;
        match text.split_once("\r\n\r\n") {
            Some((head, body)) if head.contains(" 200 ") => Ok(body.to_owned()),
            _ => Err(Error::new(format!("{path}: {text}"))),
        }
    }

    /// Runs a command in the running container, as the image's user.
    pub fn exec(&self, args: &[&str]) -> Result<String> {
        let mut command = tool("runc", "runc")?;
        command.arg("--root").arg(self.bundle.directory.path().join("state"));
        command.args(["exec", "--env", &format!("PORT={}", self.port)]).arg(self.bundle.id());
        Ok(String::from_utf8_lossy(&run(command.args(self.bundle.emulated(args)))?.stdout).into_owned())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if let Ok(mut command) = self.bundle.command("delete") {
            let _ = output(command.arg("--force"));
        }
    }
}
