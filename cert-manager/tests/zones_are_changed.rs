//! Real name servers take our updates, and host names are registered without a clash.
#![cfg(all(feature = "dns", feature = "ring"))]
#![allow(clippy::unwrap_used, reason = "clippy knows test functions, not their helpers")]

#[path = "support/dns_server.rs"]
mod dns_server;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use cert_manager::dns::{
    Applied, Authority, Change, Condition, DnsError, DnsProvider as _, HostNames, Record,
    RecordData, RecordName, RecordType, Registered, Rfc2136, ServerList, TsigKey, Update,
};
use dns_server::{DnsServer, KINDS, Kind, Policy};

fn name(text: &str) -> RecordName {
    text.parse().unwrap()
}

fn txt(text: &str) -> RecordData {
    RecordData::Txt(text.into())
}

fn add(owner: &str, data: RecordData) -> Change {
    Change::Add(Record { name: name(owner), ttl: 1, data })
}

async fn apply(zone: &Rfc2136, update: Update) -> Applied {
    zone.apply(&update).await.unwrap()
}

#[tokio::test]
#[ignore = "needs bind9 and knot"]
async fn values_stand_side_by_side_and_go_one_by_one() {
    for kind in KINDS {
        let server = DnsServer::start(kind, Policy::TextsOnly);
        let zone = server.provider();
        let owner = "_acme-challenge.a.zone.test";
        for value in ["one", "two", "two"] {
            assert_eq!(apply(&zone, Update::new([add(owner, txt(value))])).await, Applied::Done);
        }
        assert_eq!(server.dig(owner, "TXT"), ["\"one\"", "\"two\""], "{kind:?}");
        let found = zone.find(&name(owner)).await.unwrap();
        let mut texts: Vec<String> = found.iter().map(|it| it.data.to_string()).collect();
        texts.sort();
        assert_eq!(texts, ["one", "two"], "{kind:?}");
        for _ in 0..2 {
            let update = Update::new([Change::Remove(name(owner), txt("one"))]);
            assert_eq!(apply(&zone, update).await, Applied::Done);
        }
        assert_eq!(server.dig(owner, "TXT"), ["\"two\""], "{kind:?}");
        let update = Update::new([Change::RemoveAll(name(owner), RecordType::Txt)]);
        assert_eq!(apply(&zone, update).await, Applied::Done);
        assert!(server.dig(owner, "TXT").is_empty(), "{kind:?}");
    }
}

#[tokio::test]
#[ignore = "needs bind9 and knot"]
async fn changes_are_made_only_where_all_conditions_hold() {
    for kind in KINDS {
        let server = DnsServer::start(kind, Policy::Anything);
        let zone = server.provider();
        let there = Update::new([add("there.zone.test", txt("x"))]);
        assert_eq!(apply(&zone, there).await, Applied::Done);
        let (there, free) = (name("there.zone.test"), name("free.zone.test"));
        for (condition, holds) in [
            (Condition::NameIsFree(free.clone()), true),
            (Condition::NameIsFree(there.clone()), false),
            (Condition::HasNo(there.clone(), RecordType::A), true),
            (Condition::HasNo(there.clone(), RecordType::Txt), false),
            (Condition::Is(there.clone(), txt("x")), true),
            (Condition::Is(there.clone(), txt("y")), false),
            (Condition::Is(free.clone(), txt("x")), false),
        ] {
            let update =
                Update::new([add("result.zone.test", txt("made")), add("b.zone.test", txt("z"))]);
            let update = update.only_if([Condition::NameIsFree(free.clone()), condition.clone()]);
            let expected = if holds { Applied::Done } else { Applied::ConditionFailed };
            assert_eq!(apply(&zone, update).await, expected, "{kind:?}: {condition:?}");
            assert_eq!(!server.dig("result.zone.test", "TXT").is_empty(), holds, "{condition:?}");
            let clear = Change::RemoveAll(name("result.zone.test"), RecordType::Txt);
            assert_eq!(apply(&zone, Update::new([clear])).await, Applied::Done);
        }
    }
}

#[tokio::test]
#[ignore = "needs bind9 and knot"]
async fn a_refusal_says_what_to_do() {
    for kind in KINDS {
        let server = DnsServer::start(kind, Policy::TextsOnly);
        let change = || Update::new([add("a.zone.test", txt("x"))]);
        let secret = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
        let other_secret = "eDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
        for (key_name, algorithm, secret) in [
            ("stranger", "hmac-sha256", secret),
            ("acme-update", "hmac-sha256", other_secret),
            ("acme-update", "hmac-sha512", secret),
        ] {
            let key = TsigKey::new(key_name, algorithm, secret).unwrap();
            let error = Rfc2136::new(server.address(), key).apply(&change()).await.unwrap_err();
            assert!(matches!(error, DnsError::KeyRefused { .. }), "{kind:?} {key_name}: {error:?}");
            assert!(!format!("{error:?} {error}").contains(secret));
        }
        let address = Update::new([add("a.zone.test", RecordData::A([192, 0, 2, 1].into()))]);
        let error = server.provider().apply(&address).await.unwrap_err();
        match kind {
            Kind::Bind => assert!(matches!(error, DnsError::PolicyRefused { .. }), "{error:?}"),
            // It says BADKEY.
            Kind::Knot => assert!(matches!(error, DnsError::KeyRefused { .. }), "{error:?}"),
        }
        let elsewhere = Update::new([add("a.elsewhere.test", txt("x"))]);
        let error = server.provider().apply(&elsewhere).await.unwrap_err();
        assert!(matches!(error, DnsError::NoZone { .. }), "{kind:?}: {error:?}");
        let within = server.provider().zone(name("zone.test"));
        let error = within.apply(&elsewhere).await.unwrap_err();
        assert!(matches!(error, DnsError::NoZone { .. }), "{kind:?}: {error:?}");
        assert!(server.provider().apply(&Update::new([])).await.is_err());
        assert!(server.dig("a.zone.test", "TXT").is_empty());
    }
    let away: SocketAddr = ([127, 0, 0, 1], 1).into();
    let update = Update::new([add("a.zone.test", txt("x"))]);
    let error = Rfc2136::new(away, dns_server::key()).apply(&update).await.unwrap_err();
    assert!(matches!(error, DnsError::Unreachable { .. }));
}

#[tokio::test]
#[ignore = "needs knot and faketime"]
async fn a_server_with_another_time_is_told_apart_from_a_wrong_key() {
    let server = DnsServer::start_with(Kind::Knot, Policy::TextsOnly, &["faketime", "-f", "-1h"]);
    let update = Update::new([add("a.zone.test", txt("x"))]);
    let error = server.provider().apply(&update).await.unwrap_err();
    assert!(matches!(error, DnsError::Clock { .. }), "{error:?}");
}

#[tokio::test]
#[ignore = "needs bind9 and knot"]
async fn a_host_name_is_registered_changed_and_removed_by_its_owner_alone() {
    for kind in KINDS {
        let server = DnsServer::start(kind, Policy::Anything);
        let zone = Arc::new(server.provider());
        let ours = HostNames::new(zone.clone(), "edge-1").unwrap().ttl(1);
        let theirs = HostNames::new(zone.clone(), "edge-2").unwrap();
        let edge = RecordData::Cname(name("edge.example.jp"));
        let address = RecordData::A([192, 0, 2, 1].into());
        for host in ["saito.zone.test", "*.wild.zone.test"] {
            let host = name(host);
            assert_eq!(ours.register(&host, &edge).await.unwrap(), Registered::Created, "{kind:?}");
            assert_eq!(server.dig(host.as_str(), "CNAME"), ["edge.example.jp."]);
            assert_eq!(ours.register(&host, &edge).await.unwrap(), Registered::Unchanged);
            assert_eq!(ours.register(&host, &address).await.unwrap(), Registered::Changed);
            assert_eq!(server.dig(host.as_str(), "A"), ["192.0.2.1"]);
            assert!(server.dig(host.as_str(), "CNAME").is_empty());

            let error = theirs.register(&host, &edge).await.unwrap_err();
            assert!(matches!(error, DnsError::Foreign { .. }), "{kind:?}: {error:?}");
            assert!(error.to_string().contains("owner=edge-1"), "{error}");
            assert!(matches!(theirs.remove(&host).await.unwrap_err(), DnsError::Foreign { .. }));
            assert_eq!(server.dig(host.as_str(), "A"), ["192.0.2.1"]);
            assert_eq!(theirs.overwrite(&host, &edge).await.unwrap(), Registered::Overwritten);
            assert_eq!(server.dig(host.as_str(), "CNAME"), ["edge.example.jp."]);
            assert!(ours.remove(&host).await.is_err());

            assert!(theirs.remove(&host).await.unwrap());
            assert!(server.dig(host.as_str(), "CNAME").is_empty());
            assert!(!theirs.remove(&host).await.unwrap(), "{kind:?}: nothing is left");
        }
        // What a person wrote has no mark.
        let by_hand = Update::new([add("www.zone.test", RecordData::A([192, 0, 2, 7].into()))]);
        assert_eq!(zone.apply(&by_hand).await.unwrap(), Applied::Done);
        let www = name("www.zone.test");
        let error = ours.register(&www, &edge).await.unwrap_err().to_string();
        assert!(error.contains("www.zone.test A 192.0.2.7"), "{error}");
        assert!(ours.remove(&www).await.is_err());
        assert_eq!(server.dig("www.zone.test", "A"), ["192.0.2.7"]);
        assert_eq!(ours.overwrite(&www, &edge).await.unwrap(), Registered::Overwritten);
        assert_eq!(server.dig("www.zone.test", "CNAME"), ["edge.example.jp."]);
        for owner in ["", "a b", "a\"b", &"x".repeat(64)] {
            assert!(HostNames::new(zone.clone(), owner).is_err(), "{owner}");
        }
    }
}

/// Servers take such an update and leave the alias out without a word: the host would be gone.
#[tokio::test]
#[ignore = "needs bind9 and knot"]
async fn a_host_never_becomes_an_alias_beside_records_that_keep_it_out() {
    for kind in KINDS {
        let server = DnsServer::start(kind, Policy::Anything);
        let zone = Arc::new(server.provider());
        let ours = HostNames::new(zone.clone(), "edge-1").unwrap();
        let theirs = HostNames::new(zone.clone(), "edge-2").unwrap();
        let edge = RecordData::Cname(name("edge.example.jp"));
        // One with a text, and one with mail, which is of a type that we do not read.
        let (text, mail) = (name("text.zone.test"), name("mailed.zone.test"));
        let address = RecordData::A([192, 0, 2, 9].into());
        assert_eq!(ours.register(&text, &address).await.unwrap(), Registered::Created);
        assert_eq!(
            apply(&zone, Update::new([add(text.as_str(), txt("v=x"))])).await,
            Applied::Done
        );
        for (host, reason) in [(&text, "text.zone.test TXT v=x"), (&mail, "other types")] {
            for failed in [ours.register(host, &edge).await, theirs.overwrite(host, &edge).await] {
                let error = failed.unwrap_err();
                assert!(matches!(error, DnsError::NoRoom { .. }), "{kind:?} {host}: {error:?}");
                assert!(error.to_string().contains(reason), "{error}");
                assert_eq!(server.dig(host.as_str(), "A"), ["192.0.2.9"], "{kind:?} {host}");
            }
            assert_eq!(ours.register(host, &address).await.unwrap(), Registered::Unchanged);
        }
        let clear = Update::new([Change::RemoveAll(text.clone(), RecordType::Txt)]);
        assert_eq!(apply(&zone, clear).await, Applied::Done);
        assert_eq!(ours.register(&text, &edge).await.unwrap(), Registered::Changed);
        assert_eq!(server.dig(text.as_str(), "CNAME"), ["edge.example.jp."]);
    }
}

#[tokio::test]
#[ignore = "needs bind9 and knot"]
async fn of_many_that_register_one_name_at_once_one_wins() {
    for kind in KINDS {
        let server = DnsServer::start(kind, Policy::Anything);
        let zone = Arc::new(server.provider());
        for round in 0..10 {
            let host = name(&format!("host{round}.zone.test"));
            let mut tasks = Vec::new();
            for owner in 0..8u8 {
                let names = HostNames::new(zone.clone(), &format!("edge-{owner}")).unwrap();
                let host = host.clone();
                let target = RecordData::A([192, 0, 2, owner].into());
                tasks.push(tokio::spawn(async move { names.register(&host, &target).await }));
            }
            let (mut created, mut foreign) = (0, 0);
            for task in tasks {
                match task.await.unwrap() {
                    Ok(Registered::Created) => created += 1,
                    Err(DnsError::Foreign { .. }) => foreign += 1,
                    other => panic!("{kind:?}: {other:?}"),
                }
            }
            assert_eq!((created, foreign), (1, 7), "{kind:?}");
            assert_eq!(server.dig(host.as_str(), "A").len(), 1);
        }
    }
}

#[tokio::test]
#[ignore = "needs bind9 and knot"]
async fn a_value_counts_when_every_server_shows_it() {
    let (first, second) = (
        DnsServer::start(Kind::Bind, Policy::TextsOnly),
        DnsServer::start(Kind::Knot, Policy::TextsOnly),
    );
    let both = ServerList::These(vec![first.address(), second.address()]);
    let authority = Authority::with_resolvers(vec![first.address()]).servers(both);
    let (owner, value) = (name("_acme-challenge.zone.test"), txt("x"));
    let update = Update::new([add(owner.as_str(), value.clone())]);
    assert_eq!(first.provider().apply(&update).await.unwrap(), Applied::Done);
    let error = authority.wait_for(&owner, &value, Duration::from_secs(5)).await.unwrap_err();
    match &error {
        DnsError::NotSeen { missing, .. } => assert_eq!(missing, &[second.address()]),
        other => panic!("{other:?}"),
    }
    // It comes while we wait.
    let late = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        second.provider().apply(&update).await
    };
    let patience = Duration::from_secs(60);
    let (seen, applied) = tokio::join!(authority.wait_for(&owner, &value, patience), late);
    assert_eq!(applied.unwrap(), Applied::Done);
    seen.unwrap();
}

/// The zone names `ns`, with an address of each family; the server listens on one.
#[tokio::test]
#[ignore = "needs bind9"]
async fn the_zones_own_servers_are_found_and_asked() {
    let bind = DnsServer::start(Kind::Bind, Policy::TextsOnly);
    let authority = Authority::with_resolvers(vec![bind.address()]).port(bind.port);
    let (owner, value) = (name("_acme-challenge.a.b.zone.test"), txt("x"));
    let servers = authority.servers_of(&owner).await.unwrap();
    assert_eq!(servers.len(), 1);
    assert_eq!(servers[0].name, Some(name("ns.zone.test")));
    let unreachable = format!("[2001:db8::53]:{}", bind.port).parse().unwrap();
    assert_eq!(servers[0].addresses, [bind.address(), unreachable]);
    let update = Update::new([add(owner.as_str(), value.clone())]);
    assert_eq!(bind.provider().apply(&update).await.unwrap(), Applied::Done);
    authority.wait_for(&owner, &value, Duration::from_secs(60)).await.unwrap();
}

#[tokio::test]
#[ignore = "needs bind9"]
async fn aliases_are_followed_to_where_the_record_belongs() {
    let server = DnsServer::start(Kind::Bind, Policy::TextsOnly);
    let authority = Authority::with_resolvers(vec![server.address()]);
    let follow = async |text: &str| authority.follow(&name(text)).await.map(|it| it.to_string());
    let end = follow("_acme-challenge.a.alias.test").await.unwrap();
    assert_eq!(end, "a.validation.zone.test");
    assert_eq!(follow("_acme-challenge.b.zone.test").await.unwrap(), "_acme-challenge.b.zone.test");
    assert!(follow("loop.alias.test").await.is_err());
    // A resolver that is away changes nothing.
    let away = Authority::with_resolvers(vec![([127, 0, 0, 1], 1).into()]);
    assert_eq!(away.follow(&name("a.test")).await.unwrap().as_str(), "a.test");
}
