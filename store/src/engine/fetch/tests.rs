//! The download: what is kept, what is checked, what is said when it fails.

use super::*;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

/// A folder with a program that behaves like `npm`, and a packed library that it "fetches".
struct Shop {
    folder: tempfile::TempDir,
    package: Package,
}

impl Shop {
    /// `script` runs in the work folder, with the packed file in `$PACKED`.
    fn new(script: &str) -> Shop {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        std::fs::create_dir(path.join("package")).unwrap();
        std::fs::write(path.join("package/libchdb.so"), b"the library").unwrap();
        std::fs::write(path.join("package/other.h"), b"other").unwrap();
        let packed = path.join("packed");
        let status = Command::new("tar").arg("-czf").arg(&packed).arg("-C").arg(path).arg("package").status().unwrap();
        assert!(status.success());
        let digest = base64::engine::general_purpose::STANDARD.encode(Sha512::digest(std::fs::read(&packed).unwrap()));
        let npm = path.join("npm");
        std::fs::write(&npm, format!("#!/bin/sh\nPACKED={}\nCALLS={}\n{script}\n", packed.display(), path.join("calls").display()))
            .unwrap();
        std::fs::set_permissions(&npm, std::fs::Permissions::from_mode(0o755)).unwrap();
        let package = Package { os: "x", arch: "y", name: "@chdb/lib-x", sha512: String::leak(digest), packed_bytes: 1_000 };
        Shop { folder, package }
    }

    fn library(&self) -> PathBuf {
        library_path(self.folder.path())
    }

    fn fetch(&self) -> Result<(), FetchError> {
        // The file of a script that another thread has just written may still be open there (ETXTBSY).
        loop {
            match fetch(&self.library(), &self.package, &self.folder.path().join("npm")) {
                Err(FetchError::NoNpm(error)) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
                outcome => return outcome,
            }
        }
    }

    fn left_over(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.library().parent().unwrap()).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[test]
fn the_library_alone_is_installed() {
    let shop = Shop::new("echo call >> $CALLS; cp $PACKED chdb-lib.tgz");
    shop.fetch().unwrap();
    assert_eq!(std::fs::read(shop.library()).unwrap(), b"the library");
    assert_eq!(shop.left_over(), ["libchdb.so", "lock"]);
    assert_eq!(ensure(shop.folder.path()).unwrap(), shop.library(), "what is there is taken");
}

#[test]
fn two_who_need_it_fetch_once() {
    let shop = Arc::new(Shop::new("echo call >> $CALLS; sleep 0.2; cp $PACKED chdb-lib.tgz"));
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let shop = shop.clone();
            std::thread::spawn(move || shop.fetch().unwrap())
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(std::fs::read_to_string(shop.folder.path().join("calls")).unwrap(), "call\n");
}

#[test]
fn every_failure_is_one_sentence_and_leaves_nothing() {
    for (script, expected) in [
        ("cp $PACKED x.tgz; echo more >> x.tgz", "SHA-512 differs"),
        (
            "echo 'npm warn old'; echo 'npm error network request to x failed' >&2; exit 1",
            "offline?): npm error network request to x failed;",
        ),
        ("echo 'npm error code ENOSPC' >&2; exit 1", "the disk is full"),
        ("exit 0", "npm could not fetch"),
    ] {
        let shop = Shop::new(script);
        let words = shop.fetch().unwrap_err().to_string();
        assert!(words.contains(expected) && !words.contains('\n'), "{words}");
        assert_eq!(shop.left_over(), ["lock"], "{script}");
    }
    let shop = Shop::new("");
    let missing = fetch(&shop.library(), &shop.package, Path::new("/nowhere/npm")).unwrap_err().to_string();
    assert!(missing.contains("install Node.js"), "{missing}");
}

#[test]
fn the_pins_are_digests_of_sha512() {
    for package in PACKAGES {
        assert_eq!(base64::engine::general_purpose::STANDARD.decode(package.sha512).unwrap().len(), 64, "{}", package.name);
    }
}

#[test]
fn the_progress_is_the_largest_file_below() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("a/b")).unwrap();
    std::fs::write(folder.path().join("a/b/c"), [0; 70]).unwrap();
    std::fs::write(folder.path().join("d"), [0; 7]).unwrap();
    assert_eq!(largest_file(folder.path()), 70);
}
