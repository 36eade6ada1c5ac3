//! Each call by itself.

use crate::{
    conformance::{Violation, ensure, failed},
    error::StorageError,
    storage::{Key, MAX_VALUE_BYTES, Storage, Version},
};

pub(super) async fn check(store: &dyn Storage) -> Result<(), Violation> {
    values(store).await?;
    versions(store).await?;
    deletions(store).await?;
    lists(store).await?;
    quarantine(store).await
}

pub(super) fn key(text: &str) -> Result<Key, Violation> {
    let what = format!("`{text}` is no key");
    text.parse().map_err(|_| Violation { seed: None, what, source: None })
}

async fn values(store: &dyn Storage) -> Result<(), Violation> {
    let every_byte: Vec<u8> = (0..=255).collect();
    // A wrapper may need some room.
    let large = vec![b'x'; MAX_VALUE_BYTES - 1024];
    for (name, value) in [("empty", &[][..]), ("bytes", &every_byte), ("large", &large)] {
        let key = key(&format!("conformance/values/{name}"))?;
        let absent = store.get(&key).await.map_err(failed("read what is not there"))?;
        ensure(absent.is_none(), || format!("`{key}` is there before it was written"))?;
        let version = store.put(&key, value, None).await.map_err(failed("write a new object"))?;
        let entry = store.get(&key).await.map_err(failed("read an object"))?;
        let is_same = entry.is_some_and(|it| *it.value == value && it.version == version);
        ensure(is_same, || format!("`{key}` does not come back as it was written"))?;
    }
    let keys = ["bytes", "absent", "empty"].map(|name| key(&format!("conformance/values/{name}")));
    let keys = keys.into_iter().collect::<Result<Vec<_>, _>>()?;
    let many = store.get_many(&keys).await.map_err(failed("read many"))?;
    let many = many.into_iter().collect::<Result<Vec<_>, _>>().map_err(failed("read many"))?;
    let many: Vec<_> = many.into_iter().map(|it| it.map(|it| it.value.to_vec())).collect();
    let is_same = many == [Some(every_byte.clone()), None, Some(Vec::new())];
    ensure(is_same, || {
        "many that are read at once do not come in the order of their keys".to_owned()
    })?;
    let key = key("conformance/values/too-large")?;
    let done = store.put(&key, &vec![0; MAX_VALUE_BYTES + 1], None).await;
    ensure(done.is_err(), || "a value of over 1 MiB is taken".to_owned())?;
    let longest = format!("conformance/values/{}", "k".repeat(255));
    let longest = self::key(&longest)?;
    store.put(&longest, b"x", None).await.map_err(failed("write under a long name"))?;
    Ok(())
}

async fn versions(store: &dyn Storage) -> Result<(), Violation> {
    let key = key("conformance/versions")?;
    let done = store.put(&key, b"none", Some(Version::new(1))).await;
    conflict(&done, "a write in place of what is not there")?;
    let mut last = store.put(&key, b"0", None).await.map_err(failed("write a new object"))?;
    let first = last;
    conflict(&store.put(&key, b"none", None).await, "a write in place of nothing")?;
    for round in 1..20_u32 {
        let value = round.to_string();
        let next = store.put(&key, value.as_bytes(), Some(last)).await;
        let next = next.map_err(failed("replace an object"))?;
        ensure(next > last, || format!("version {next} does not come after {last}"))?;
        conflict(
            &store.put(&key, b"none", Some(last)).await,
            "a write in place of an old version",
        )?;
        last = next;
    }
    conflict(
        &store.put(&key, b"none", Some(first)).await,
        "a write in place of the first version",
    )?;
    let entry = store.get(&key).await.map_err(failed("read an object"))?;
    let is_last = entry.is_some_and(|it| *it.value == *b"19" && it.version == last);
    ensure(is_last, || "refused writes changed an object".to_owned())
}

async fn deletions(store: &dyn Storage) -> Result<(), Violation> {
    let key = key("conformance/deletions")?;
    conflict(&store.delete(&key, Version::new(1)).await, "a deletion of what is not there")?;
    let mut last = Version::new(0);
    // Quick enough that a coarse clock stands still meanwhile.
    for _ in 0..20 {
        let first = store.put(&key, b"1", None).await.map_err(failed("write a new object"))?;
        ensure(first > last, || format!("after a deletion, {first} does not come after {last}"))?;
        let second = store.put(&key, b"2", Some(first)).await.map_err(failed("replace"))?;
        conflict(&store.delete(&key, first).await, "a deletion of an old version")?;
        store.delete(&key, second).await.map_err(failed("delete an object"))?;
        conflict(&store.delete(&key, second).await, "a second deletion")?;
        let absent = store.get(&key).await.map_err(failed("read what was deleted"))?;
        ensure(absent.is_none(), || "what was deleted is there".to_owned())?;
        last = second;
    }
    Ok(())
}

async fn lists(store: &dyn Storage) -> Result<(), Violation> {
    let folder = "conformance/lists/a";
    let mut inside = vec![key("conformance/lists/a/one")?, key("conformance/lists/a/b/two")?];
    let outside = [key("conformance/lists/ab")?, key("conformance/lists/a.c/three")?];
    for key in inside.iter().chain(&outside) {
        store.put(key, b"x", None).await.map_err(failed("write a new object"))?;
    }
    let mut found = store.list(folder).await.map_err(failed("list a folder"))?;
    found.sort_unstable();
    inside.sort_unstable();
    ensure(found == inside, || format!("the list of `{folder}` is {found:?}"))?;
    let all = store.list("").await.map_err(failed("list everything"))?;
    let has_all = inside.iter().chain(&outside).all(|key| all.contains(key));
    ensure(has_all, || "the list of everything is not complete".to_owned())?;
    let none = store.list("conformance/none").await.map_err(failed("list an empty folder"))?;
    ensure(none.is_empty(), || "an empty folder has a list".to_owned())
}

async fn quarantine(store: &dyn Storage) -> Result<(), Violation> {
    let key = key("conformance/broken")?;
    let old = store.put(&key, b"broken", None).await.map_err(failed("write a new object"))?;
    let new = store.put(&key, b"broken too", Some(old)).await.map_err(failed("replace"))?;
    conflict(&store.set_aside(&key, old).await, "setting aside an old version")?;
    store.set_aside(&key, new).await.map_err(failed("set an object aside"))?;
    let absent = store.get(&key).await.map_err(failed("read what was set aside"))?;
    ensure(absent.is_none(), || "what was set aside is still there".to_owned())?;
    let all = store.list("").await.map_err(failed("list everything"))?;
    let is_gone = !all.iter().any(|key| key.as_str().contains("broken"));
    ensure(is_gone, || "what was set aside is in the list".to_owned())?;
    store.put(&key, b"whole", None).await.map_err(failed("write in its place")).map(drop)
}

fn conflict<T>(done: &Result<T, StorageError>, what: &str) -> Result<(), Violation> {
    match done {
        Err(error) if error.is_conflict() => Ok(()),
        Ok(_) => ensure(false, || format!("{what} is taken")),
        Err(error) => ensure(false, || format!("{what} is no conflict: {error}")),
    }
}
