use std::collections::HashSet;

use libp2p_identity::PeerId;

use super::*;
use crate::autotls::issuer::outside::Folder;

fn storage(config: &Config, peer: PeerId) -> Storage {
    Storage::new(config, &Name::new(&peer, &config.domain))
}

#[test]
fn what_is_stored_is_found_and_nothing_is_without_a_folder() {
    let folder = Folder::new();
    let peer = PeerId::random();
    let stored = storage(&Config::default().with_storage(&folder.0), peer);
    assert_eq!(stored.read(CERTIFICATE), Ok(None));
    for content in ["a", "b"] {
        stored.write(CERTIFICATE, content).unwrap();
        assert_eq!(stored.read(CERTIFICATE), Ok(Some(content.into())));
    }
    stored.remove(CERTIFICATE);
    assert_eq!(stored.read(CERTIFICATE), Ok(None));

    let none = storage(&Config::default(), peer);
    none.write(CERTIFICATE, "a").unwrap();
    none.remove(CERTIFICATE);
    assert_eq!(none.read(CERTIFICATE), Ok(None));
}

#[test]
fn two_processes_do_not_write_to_one_file_and_what_a_crash_leaves_is_removed() {
    let folder = Folder::new();
    let stored = storage(&Config::default().with_storage(&folder.0), PeerId::random());
    stored.check().unwrap();
    let names = ["certificate.pem.0badcafe.new", "certificate.pem.new"];
    let [others, left] = names.map(|name| stored.path(name).unwrap());
    fs::write(&others, "half").unwrap();
    fs::write(&left, "half").unwrap();
    let long_ago = std::time::SystemTime::now() - 2 * LEFT;
    let file = File::options().write(true).open(&left).unwrap();
    file.set_modified(long_ago).unwrap();
    stored.write(CERTIFICATE, "whole").unwrap();
    assert_eq!(stored.read(CERTIFICATE), Ok(Some("whole".into())));
    stored.check().unwrap();
    assert!(others.exists() && !left.exists());
    let files = fs::read_dir(stored.folder.as_ref().unwrap()).unwrap();
    assert_eq!(files.count(), 2, "nothing of its own is left");
}

#[cfg(unix)]
#[test]
fn only_this_user_can_read_it() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = Folder::new();
    let stored = storage(&Config::default().with_storage(&folder.0), PeerId::random());
    stored.write(NEXT_KEY, "a").unwrap();
    let path = stored.path(NEXT_KEY).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    stored.write(NEXT_KEY, "b").unwrap();
    assert_eq!(mode(&path), 0o600);
}

#[test]
fn each_node_domain_and_server_has_a_folder_of_its_own() {
    let base = Config::default().with_storage("a");
    let configs = [
        base.clone(),
        base.clone().staging(),
        base.clone().with_domain("example.com"),
        base.clone().with_acme_directory("https://example.com/a/b"),
        base.clone().with_acme_directory("http://example.com/a/b"),
        base.clone()
            .with_acme_directory("https://example.com/a%2Fb"),
    ];
    let peers = [PeerId::random(), PeerId::random()];
    let folders = configs.iter().flat_map(|config| {
        let of = move |peer| storage(config, peer).folder;
        peers.map(of)
    });
    let folders: HashSet<_> = folders.map(Option::unwrap).collect();
    assert_eq!(folders.len(), configs.len() * peers.len());
    for folder in folders {
        assert_eq!(folder.components().count(), 4, "{}", folder.display());
    }
}

#[test]
fn a_file_that_cannot_be_used_is_renamed_and_told() {
    let folder = Folder::new();
    let stored = storage(&Config::default().with_storage(&folder.0), PeerId::random());
    for content in ["a", "b"] {
        stored.write(CERTIFICATE, content).unwrap();
        let error = stored.set_aside(CERTIFICATE, "it is strange");
        assert!(matches!(error, Error::SetAside { .. }), "{error}");
        assert_eq!(stored.read(CERTIFICATE), Ok(None));
        let aside = stored.read("certificate.pem.refused");
        assert_eq!(aside, Ok(Some(content.into())));
    }
    let error = stored.set_aside(CERTIFICATE, "it is strange");
    let text = error.to_string();
    assert!(
        text.contains("it is strange, and it cannot be renamed"),
        "{text}"
    );
}
