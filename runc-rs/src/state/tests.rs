//! Reservations, records and ids.

use super::*;

#[test]
fn ids_that_are_no_safe_file_name_are_refused() {
    for bad in ["", ".", "..", "a/b", "a b", "ä", "a\n", &"a".repeat(256)] {
        assert!(bad.parse::<ContainerName>().is_err(), "{bad:?}");
    }
    for good in ["a", "...", "A_b+c-d.9", &"a".repeat(255)] {
        assert!(good.parse::<ContainerName>().is_ok(), "{good:?}");
    }
}

#[test]
fn one_of_many_reservations_wins() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::new(root.path().join("a/b"));
    let id: ContainerName = "x".parse().unwrap();
    let winners = std::thread::scope(|scope| {
        let tries: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| store.reserve(&id).is_ok()))
            .collect();
        tries
            .into_iter()
            .filter(|_| true)
            .map(|t| t.join().unwrap())
            .filter(|won| *won)
            .count()
    });
    assert_eq!(winners, 1);
    assert_eq!(store.ids().unwrap(), [id]);
}

/// As when `delete` has removed the directory between two steps of a creation
/// and another creation is already there.
#[test]
fn a_directory_of_another_creation_is_not_taken() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::new(root.path().to_owned());
    let id: ContainerName = "x".parse().unwrap();
    let (directory, lock) = store.reserve(&id).unwrap();
    let taken = |entered: Result<(), StateError>| {
        assert!(matches!(entered, Err(StateError::Exists(_))), "{entered:?}");
    };
    taken(directory.enter().map(drop));
    drop(lock);
    replace(&directory.record(), b"{}", FileMode::Private).unwrap();
    taken(directory.enter().map(drop));
    directory.remove().unwrap();
    let gone = directory.enter().unwrap_err();
    assert!(matches!(gone, StateError::File(_)), "{gone:?}");
}

#[test]
fn a_directory_without_a_record_does_not_exist_as_a_container() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::new(root.path().to_owned());
    let (directory, _lock) = store.reserve(&"x".parse().unwrap()).unwrap();
    assert!(matches!(directory.load(), Err(StateError::DoesNotExist(_))));
    directory.remove().unwrap();
    assert!(store.ids().unwrap().is_empty());
    directory.remove().unwrap();
}
