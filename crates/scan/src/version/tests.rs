//! Tables of cases, each from the world's specification or its tool's own tests; and the laws of a total order.
use super::Order;
use proptest::prelude::*;
use std::cmp::Ordering;

/// Chains of versions: `a = b < c`. Every pair of a chain is compared, in both directions.
const CHAINS: &[(Order, &[&str])] = &[
    (
        // Policy 5.6.12, deb-version(7), and dpkg's t-version-compare.
        Order::Deb,
        &[
            "1.0~~ < 1.0~~a < 1.0~ < 1.0~rc1 < 1.0 = 0:1.0 = 1.0-0 = 1.00 < 1.0-0+b1 < 1.0-1~bpo1 < 1.0-1 < 1.0a < 1.0+b \
             < 1.0.1 < 1.2 < 1.10 < 1:0.1 < 2:0~",
            "7.6-0 < 7.6p2-4 < 7.6.1-1",
            "2.36-9+deb12u1 < 2.36-9+deb12u9 < 2.36-9+deb12u10 < 2.37-1",
            "1.2.3-1 < 1.2.3-1ubuntu0.1 < 1.2.3-1ubuntu1 < 1.2.3-2",
            "0-0 < 0-a < 0-b < 0.0-0 = 0.00-00 < 09-1 = 9-1 < 10-1",
            "0:1-1 < 1:0-1",
            "1-1-1 < 1-2-1",
            "99999999999999999998-1 < 99999999999999999999-1",
        ],
    ),
    (
        // rpm's rpmvercmp.at and rpm-version(7).
        Order::Rpm,
        &[
            "1.0 < 2.0 < 2.0.1 < 2.0.1a",
            "5.5p1 < 5.5p2 < 5.5p10",
            "10xyz < 10.1xyz",
            "xyz10 < xyz10.1 < 8",
            "xyz.4 < 2",
            "5.6p1 < 6.0 < 6.0.rc1 < 6.5p1",
            "10a1 < 10a2 < 10b2",
            "1.0010 = 1.10 = 1.010 < 1.0500",
            "4.999.9 < 5.0",
            "20101121 < 20101122",
            "2_0 = 2.0 = 2+0",
            "1.0~rc1~git123 < 1.0~rc1 = 1.0~rc1 < 1.0~rc2 < 1.0 < 1.0^ < 1.0^git1 < 1.0^git2 < 1.0.1 < 1.01 = 1.1",
            "1.0^20160101~git1 < 1.0^20160101 < 1.0^20160101^git1 < 1.0^20160102 < 1.0.1",
            "1.0~rc1 < 1.0~rc1^git1 < 1.0",
            "a = a+ = a_ < a.b",
            "0:1-1 = 1-1 < 1-1.el9 < 1-2 < 1:0-1 < 2:0-0",
            "3.0.7-24.el9 < 3.0.7-25.el9_3 < 3.0.7-27.el9 < 1:1.1.1k-1.el8",
        ],
    ),
    (
        // apk-tools' test/unit/version.data, and apk-package(5).
        Order::Apk,
        &[
            "2.34 > 0.1.0_alpha",
            "0.1.0_alpha < 0.1.0_alpha1 < 0.1.0_alpha2 < 0.1.0_beta < 0.1.0_pre2 < 0.1.0_rc1 < 0.1.0 < 0.1.0_cvs < \
             0.1.0_svn < 0.1.0_git1 < 0.1.0_hg < 0.1.0_p1 < 0.1.0_p2 < 0.1.3",
            "1.0_p9 < 1.0_p10 < 1.0_p10-r0 < 1.0_p10-r1",
            "6.0_pre1 < 6.0 < 6.0_p1 < 6.0.1",
            "8.2.0 < 8.2.0015 < 8.2.002 < 8.2.1 < 8.2.4 < 8.2.4a < 8.2.10",
            "1.2.3 < 1.2.3-r1 < 1.2.3-r9 < 1.2.3-r10 < 1.2.3a < 1.2.3b < 1.2.4",
            "13.0_alpha < 13.0_rc1 < 13.0 < 13.1",
            "1.0~1234 < 1.0~1235 < 1.0~abcd < 1.0~abcd-r1",
            "0.24_alpha_pre2 < 0.24_alpha < 0.24_alpha_p3",
            "3.0.8-r0 < 3.0.8-r1 < 3.0.9-r0 < 3.0.10-r0 < 3.1.0-r0",
            "20230506-r0 < 20240226-r0",
            "1 < 1.01.1 < 1.1.1 < 2",
        ],
    ),
    (
        // semver.org §11; x/mod/semver for Go's pseudo-versions; node-semver.
        Order::Semver,
        &[
            "1.0.0-alpha < 1.0.0-alpha.1 < 1.0.0-alpha.beta < 1.0.0-beta < 1.0.0-beta.2 < 1.0.0-beta.11 < 1.0.0-rc.1 < 1.0.0 \
             = 1.0.0+20130313144700 = v1.0.0 = 1.0 = 1 < 1.0.1 < 1.2.0 < 1.10.0 < 2.0.0",
            "0.0.0-0 < 0.0.0-20190308221718-c2843e01d9a2 < 0.0.0-20200101000000-000000000000 < 0.0.0",
            "v1.2.3-0.20191109021931-daa7c04131f5 < v1.2.3-pre < v1.2.3-pre.0.20191109021931-daa7c04131f5 < v1.2.3 \
             < v2.0.0+incompatible",
            "1.0.0-1 < 1.0.0-9 < 1.0.0-10 < 1.0.0--1 < 1.0.0-A < 1.0.0-a < 1.0.0-a-b < 1.0.0-ab",
            "1.20.0-0 < 1.20.0-rc.1 < 1.20 < 1.20.14 < 1.21.0-0 < 1.21.0",
            "99999999999999999998.0.0 < 99999999999999999999.0.0",
        ],
    ),
    (
        // PEP 440, "Summary of permitted suffixes and relative ordering", and its normalisations.
        Order::Pep440,
        &[
            "no version < 1.dev0 < 1.0.dev456 < 1.0a1 = 1.0alpha1 = 1.0-a.1 = 1.0.A1 < 1.0a2.dev456 < 1.0a12.dev456 < 1.0a12 \
             < 1.0b1.dev456 < 1.0b2 = 1.0beta2 < 1.0b2.post345.dev456 < 1.0b2.post345 < 1.0rc1.dev456 < 1.0rc1 = 1.0c1 = \
             1.0pre1 = 1.0preview1 < 1.0 = 1 = 1.0.0 = v1.0 = 0!1.0 < 1.0+abc.5 < 1.0+abc.7 = 1.0+ABC-7 < 1.0+5 = 1.0+005 \
             < 1.0.post456.dev34 < 1.0.post456 = 1.0-456 = 1.0.rev456 = 1.0-r456 < 1.0.15 < 1.1.dev1 < 1.2 < 1.10 < 2012.4 \
             < 1!0.1",
            "1.0a < 1.0a1",
            "1.0a0 = 1.0a = 1.0a-",
            "1.0.post = 1.0.post0 < 1.0.post1",
            "1.0.dev = 1.0.dev0 < 1.0.dev1",
        ],
    ),
    (
        // The POM reference's examples, and ComparableVersionTest of Maven.
        Order::Maven,
        &[
            "1-alpha2snapshot < 1-alpha2 < 1-alpha-123 < 1-beta-2 < 1-beta123 < 1-m2 < 1-m11 < 1-rc = 1-cr < 1-cr2 = 1-rc2 < \
             1-rc123 < 1-snapshot < 1 = 1.0 = 1.0.0 = 1-ga = 1.ga = 1-final = 1.0.0-0.0.0 = 1-release < 1-sp < 1-sp2 < \
             1-sp123 < 1-abc < 1-def < 1-pom-1 < 1-1-snapshot < 1-1 < 1-2 < 1-123 < 1.1",
            "2.0.1-klm < 2.0.1-lmn < 2.0.1-xyz < 2.0.1-123",
            "2.0 < 2.0.a = 2.0.0.a < 2-1 < 2.0.2 < 2.0.123 < 2.1.0 < 2.1-a < 2.1b < 2.1-c < 2.1-1 < 2.1.0.1 < 2.2 < 2.123",
            "1-foo2 < 1-foo10",
            "1.foo = 1-foo < 1-1 < 1.1",
            "1.RC2 = 1-RC2 < 1-RC3 < 1.0.1",
            "1a1 = 1-alpha-1 < 1b2 = 1-beta-2 < 1m3 = 1-milestone-3",
            "2.13.4 < 2.13.4.1 < 2.13.4.2 < 2.14.0-rc1 < 2.14.0",
            "5.3.0.RELEASE = 5.3.0 < 5.3.1 < 5.3.20",
            "4.1.0.Beta1 < 4.1.0.CR1 < 4.1.0.Final < 4.1.0.Final-redhat-1 < 4.1.94.Final",
            "31.0-android < 31.0-jre < 31.1-jre",
            "20040616 < 99999999999999999998 < 99999999999999999999",
        ],
    ),
    (
        // Gem::Version's documentation and test_gem_version.rb.
        Order::Gem,
        &[
            "1.0.a < 1.0.a.2 < 1.0.a10 < 1.0.b1 < 1.0.pre = 1.0-  < 1.0.rc1 < 1.0 = 1.0.0 = 1 < 1.0.1 < 1.8.2.a < 1.8.2.a9 < \
             1.8.2.a10 < 1.8.2.b < 1.8.2 < 1.9.3 < 1.10",
            "0.beta.1 = 0.0.beta.1 < 0.0.beta.2 < 0",
            "5.a < 5.0.0.rc2 < 5.x < 5.0.0",
            "1.9.a < 1.9.a.9 < 1.9.b < 1.9 < 1.9.0.1",
            "1.0-1 < 1.0",
            "1.13.6 < 1.13.10 < 1.14.0.rc1 < 1.14.0",
        ],
    ),
];

#[test]
fn chains() {
    let wrong: Vec<String> =
        CHAINS.iter().flat_map(|(order, chains)| chains.iter().flat_map(|chain| wrong(*order, chain))).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Reads a chain and compares each with each: what is not as the chain says.
fn wrong(order: Order, chain: &str) -> Vec<String> {
    let (mut versions, mut place) = (Vec::new(), 0_i32);
    for (n, word) in chain.split_inclusive(['<', '=', '>']).enumerate() {
        let (version, sign) = match word.strip_suffix(['<', '=', '>']) {
            Some(version) => (version, word.chars().last()),
            None => (word, None),
        };
        assert!(n == 0 || !version.trim().is_empty(), "{chain}");
        versions.push((version.trim(), place));
        place += match sign {
            Some('<') => 1,
            Some('>') => -1,
            _ => 0,
        };
    }
    let pairs = versions.iter().flat_map(|a| versions.iter().map(move |b| (a, b)));
    pairs
        .filter(|((a, place_a), (b, place_b))| order.compare(a, b) != place_a.cmp(place_b))
        .map(|((a, _), (b, _))| format!("{order:?}: {a} and {b}: {:?}", order.compare(a, b)))
        .collect()
}

#[test]
fn what_is_a_version() {
    for (order, yes, no) in [
        (Order::Deb, &["1.0", "1:2.3-4+b1", "0~~"][..], &["", "a:1", "1 2", "1.0-"][..]),
        (Order::Rpm, &["1.0-1.el9", "a"], &["", "-"]),
        (Order::Apk, &["1", "1.2.3a_rc1_p2~abc-r4"], &["", "a", "1.", "1_foo", "1-r", "1.2.3-r1x", "1B"]),
        (Order::Semver, &["1", "v1.2.3-a+b", "1.2.3.4"], &["", "(devel)", "x", "1.x", "1a"]),
        (Order::Pep440, &["1", "1!2.3a1.post2.dev3+x", "2004d0".trim_end_matches("d0")], &["", "1.x", "2004d"]),
        (Order::Maven, &["1", "x"], &["", "${project.version}"]),
        (Order::Gem, &["1", "1.0.a", "1-x.y"], &["", "a", "1..2", "1.a b"]),
    ] {
        for version in yes {
            assert!(order.is_version(version), "{order:?} {version}");
        }
        for text in no {
            assert!(!order.is_version(text), "{order:?} {text}");
        }
    }
}

const ORDERS: [Order; 7] = [Order::Apk, Order::Deb, Order::Gem, Order::Maven, Order::Pep440, Order::Rpm, Order::Semver];

/// Texts that look like versions: pieces on which the orders turn.
fn texts() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "0", "1", "2", "10", "01", "00", ".", ".", ".", "-", "-", "_", "~", "^", "+", ":", "!", "a", "b", "rc",
        "alpha", "beta", "pre", "post", "dev", "sp", "ga", "final", "snapshot", "m", "p", "-r", "_p", "_rc", "x", "A",
        "é", " ",
    ]);
    prop_oneof![
        4 => (prop::collection::vec(pieces, 0..8)).prop_map(|pieces| pieces.concat()),
        1 => ".{0,12}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn total_orders(a in texts(), b in texts(), c in texts()) {
        for order in ORDERS {
            prop_assert_eq!(order.compare(&a, &a), Ordering::Equal);
            prop_assert_eq!(order.compare(&a, &b), order.compare(&b, &a).reverse(), "{:?}", order);
            let mut three = [&a, &b, &c];
            three.sort_by(|x, y| order.compare(x, y));
            prop_assert_ne!(order.compare(three[0], three[1]), Ordering::Greater, "{:?} {:?}", order, three);
            prop_assert_ne!(order.compare(three[1], three[2]), Ordering::Greater, "{:?} {:?}", order, three);
            let (low, high) = (order.compare(three[0], three[1]), order.compare(three[1], three[2]));
            prop_assert_eq!(order.compare(three[0], three[2]), low.then(high), "{:?} {:?}", order, three);
        }
    }

    #[test]
    fn semver_as_the_semver_crate(
        a in "(0|1|2|10)\\.(0|1|10)\\.(0|1|10)(-(a|b|rc1|0|1|10|A-|-)(\\.(a|0|1|10|-)){0,2})?",
        b in "(0|1|2|10)\\.(0|1|10)\\.(0|1|10)(-(a|b|rc1|0|1|10|A-|-)(\\.(a|0|1|10|-)){0,2})?",
    ) {
        let (x, y) = (semver::Version::parse(&a).unwrap(), semver::Version::parse(&b).unwrap());
        prop_assert_eq!(Order::Semver.compare(&a, &b), x.cmp_precedence(&y));
    }
}

/// Whether dpkg says the same, where it is installed (it is on every Debian).
#[test]
fn debian_as_dpkg() {
    let versions = [
        "1.0",
        "1.0-0",
        "1.0~rc1",
        "1.0-1~bpo12+1",
        "1:0.9",
        "1.0+b1",
        "1.0a",
        "1.0.1",
        "10",
        "0:1.00",
        "1.0-1ubuntu0.1",
        "1.0~",
        "1.0-~1",
        "1.0+",
        "1.a.0",
    ];
    for a in versions {
        for b in versions {
            let word = match Order::Deb.compare(a, b) {
                Ordering::Less => "lt",
                Ordering::Equal => "eq",
                Ordering::Greater => "gt",
            };
            let Ok(status) = std::process::Command::new("dpkg").args(["--compare-versions", a, word, b]).status()
            else {
                assert!(std::env::var_os("CI").is_none(), "dpkg is not installed");
                return;
            };
            assert!(status.success(), "dpkg does not say {a} {word} {b}");
        }
    }
}
