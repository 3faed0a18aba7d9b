//! Any bytes as an archive of records: no panic, and no more memory than the limits allow.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(mut zip) = scan::db::Zip::open(&data) else { return };
    for _ in 0..100 {
        let Ok(Some(member)) = zip.next_member() else { return };
        if let Ok(content) = zip.read(&member, 1 << 20) {
            assert!(content.len() <= 1 << 20);
            let _ = scan::osv::Record::read(&content);
        }
    }
});
