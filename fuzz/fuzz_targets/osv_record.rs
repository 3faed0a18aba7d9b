//! Any bytes as an OSV record; and the laws of the version orders on what its ranges name.
#![no_main]
use libfuzzer_sys::fuzz_target;
use scan::osv::{Record, VersionRange};
use scan::version::Order;

const ORDERS: [Order; 7] = [Order::Apk, Order::Deb, Order::Gem, Order::Maven, Order::Pep440, Order::Rpm, Order::Semver];

fuzz_target!(|data: &[u8]| {
    if let Ok(record) = Record::read(data) {
        for range in record.affected.into_iter().flat_map(|affected| affected.ranges).take(20) {
            let versions: Vec<String> = range.events.iter().take(10).map(|e| e.version().to_owned()).collect();
            let range = VersionRange { semver: false, events: range.events };
            for version in &versions {
                for order in ORDERS {
                    let _ = range.holds(version, order);
                }
            }
        }
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut three = text.splitn(3, '\n');
    if let (Some(a), Some(b), Some(c)) = (three.next(), three.next(), three.next()) {
        for order in ORDERS {
            assert_eq!(order.compare(a, b), order.compare(b, a).reverse(), "{order:?}");
            if order.compare(a, b).is_le() && order.compare(b, c).is_le() {
                assert!(order.compare(a, c).is_le(), "{order:?}");
            }
        }
    }
});
