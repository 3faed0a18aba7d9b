//! Memory does not grow with a blob's size, in both directions, on both sides; and many threads at once.
use crate::support::*;
use oci::{Descriptor, Digester, media_type};
use registry::{Progress, serve::ServeOptions};
use std::io::Read;

/// Content that is made as it is read: one block again and again, so that it costs no time.
struct Generated {
    left: u64,
    block: Vec<u8>,
    at: usize,
}

impl Read for Generated {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let rest = &self.block[self.at..];
        let count = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len()).min(rest.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.at = (self.at + count) % self.block.len();
        self.left -= count as u64;
        Ok(count)
    }
}

fn generated(size: u64) -> Box<dyn Read + Send> {
    Box::new(Generated { left: size, block: noise(1_000_003, 5), at: 0 })
}

/// The most memory this process ever had, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

fn descriptor(size: u64) -> Descriptor {
    let mut digester = Digester::new();
    std::io::copy(&mut generated(size), &mut digester).unwrap();
    Descriptor::new(media_type::OCI_LAYER, digester.finish(), size)
}

#[test]
fn memory_stays_flat() {
    // In a process of its own: other tests in this one hold memory too.
    if std::env::var_os("STREAMING_ALONE").is_none() {
        let me = std::env::current_exe().unwrap();
        run(std::process::Command::new(me)
            .args(["streaming::memory_stays_flat", "--exact", "--nocapture"])
            .env("STREAMING_ALONE", "1"));
        return;
    }
    let size = 256 << 20;
    let registry = OwnRegistry::start(ServeOptions::default());
    let client = client();
    let name = name_of(&registry.host, "big");
    let descriptor = descriptor(size);
    let before = peak();
    client.push_blob(&name, &descriptor, &|| Ok(generated(size)), &[], Progress::none()).unwrap();
    let pushed = peak();
    let mut reader = client.blob(&name, &descriptor, Progress::none()).unwrap();
    assert_eq!(std::io::copy(&mut reader, &mut std::io::sink()).unwrap(), size);
    let pulled = peak();
    let other = name_of(&registry.host, "streamed");
    let stored =
        client.push_blob_stream(&other, media_type::OCI_LAYER, &mut generated(size), Progress::none()).unwrap();
    assert_eq!(stored, descriptor);
    let streamed = peak();
    // The client and the server live in this one process.
    let grown = |to: u64| (to - before) >> 20;
    assert!(grown(pushed) < 24, "a push took {} MiB", grown(pushed));
    assert!(grown(pulled) < 32, "a pull took {} MiB", grown(pulled));
    assert!(grown(streamed) < 64, "a streamed push took {} MiB", grown(streamed));
}

#[test]
fn many_threads_at_once() {
    let registry = OwnRegistry::start(ServeOptions::default());
    let client = client();
    std::thread::scope(|scope| {
        for thread in 0..24_u64 {
            let (client, host) = (client.clone(), registry.host.clone());
            scope.spawn(move || {
                let name = name_of(&host, &format!("many/r{}:t{thread}", thread % 3));
                // Some threads push the same content.
                let content = noise(700_000, thread / 2);
                let (_, layer) = push_image(&client, &name, &content);
                assert!(client.blob_bytes(&name, &layer, 1 << 20).unwrap() == content);
            });
        }
    });
    assert_eq!(client.tags(&name_of(&registry.host, "many/r0")).unwrap().len(), 8);
}
