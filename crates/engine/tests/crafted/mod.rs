//! Archives made by hand, sound or broken in a named way.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::{
    io::Write,
    num::NonZeroUsize,
    sync::atomic::{AtomicUsize, Ordering},
};

use engine::{
    restore::{Restoration, RestoreError, RestoreOptions, restore},
    verify::{Verification, VerifyError, VerifyOptions, verify},
};
use habackup::{
    index::{FileEntry, IndexBuilder, Sum},
    manifest::{Draft, Manifest},
    outer::Outer,
    securetar::{Encryptor, Keys, Password, SecureTarVersion},
    tar::{self, Header, Kind},
};
use pargz::PieceTable;
use store::Cancellation;

pub(crate) const PASSWORD: &str = "correct horse";
pub(crate) const MTIME: (i64, u32) = (1_790_000_000, 123_456_789);

/// A tar being written member by member; anything may be put into it.
#[derive(Clone, Default)]
pub(crate) struct Inner {
    pub(crate) bytes: Vec<u8>,
    pub(crate) files: Vec<FileEntry>,
}

impl Inner {
    /// What every config directory has.
    pub(crate) fn config() -> Self {
        Self::least()
            .file_with("data/.storage/auth_provider.homeassistant", b"{}", 0o600)
            .file_with("data/.storage/core.config_entries", b"{}", 0o600)
            .file_with("data/.storage/onboarding", b"{}", 0o600)
    }

    /// The least that is taken for one.
    pub(crate) fn least() -> Self {
        Self::default()
            .directory("data", 0o755)
            .file("data/.HA_VERSION", b"2026.3.0")
            .directory("data/.storage", 0o700)
            .file_with("data/.storage/auth", b"{\"users\":[]}", 0o600)
            .file("data/configuration.yaml", b"default_config:\n")
    }

    pub(crate) fn member(mut self, path: &[u8], kind: Kind, body: &[u8], mode: u32, link: &[u8]) -> Self {
        let header_offset = self.bytes.len() as u64;
        let size = body.len() as u64;
        tar::encode(&Header { path, kind, size, mode, mtime: MTIME, link, uid: 0, gid: 0 }, &mut self.bytes);
        let data_offset = self.bytes.len() as u64;
        self.bytes.extend_from_slice(body);
        self.bytes.resize(self.bytes.len() + tar::padding(size), 0);
        self.files.push(FileEntry { path: path.to_vec(), kind, header_offset, data_offset, size, folder: None });
        self
    }

    pub(crate) fn directory(self, path: &str, mode: u32) -> Self {
        self.member(path.as_bytes(), Kind::Directory, b"", mode, b"")
    }

    pub(crate) fn file(self, path: &str, body: &[u8]) -> Self {
        self.file_with(path, body, 0o644)
    }

    pub(crate) fn file_with(self, path: &str, body: &[u8], mode: u32) -> Self {
        self.member(path.as_bytes(), Kind::File, body, mode, b"")
    }

    pub(crate) fn symlink(self, path: &str, target: &str) -> Self {
        self.member(path.as_bytes(), Kind::Symlink, b"", 0o777, target.as_bytes())
    }

    /// A member of any type byte, without content.
    pub(crate) fn odd(self, path: &str, kind: u8, link: &str) -> Self {
        let mut made = self.member(path.as_bytes(), Kind::Symlink, b"", 0o644, link.as_bytes());
        made.retype(kind);
        made
    }

    /// A file whose header declares another size than its content has.
    pub(crate) fn declared(self, path: &str, size: u64, body: &[u8]) -> Self {
        let mut made = self;
        tar::encode(
            &Header {
                path: path.as_bytes(),
                kind: Kind::File,
                size,
                mode: 0o644,
                mtime: (0, 0),
                link: b"",
                uid: 0,
                gid: 0,
            },
            &mut made.bytes,
        );
        made.bytes.extend_from_slice(body);
        made
    }

    /// Gives the last header block another type byte.
    fn retype(&mut self, kind: u8) {
        let at = self.bytes.len() - 512;
        let block = &mut self.bytes[at..];
        block[156] = kind;
        block[148..156].copy_from_slice(b"        ");
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }

    pub(crate) fn ended(&self) -> Vec<u8> {
        [self.bytes.as_slice(), &tar::END].concat()
    }
}

/// How an archive is laid out.
#[derive(Clone, Copy)]
pub(crate) struct Layout {
    pub(crate) protection: Option<SecureTarVersion>,
    pub(crate) compressed: bool,
    pub(crate) index: bool,
}

pub(crate) const PLAIN: Layout = Layout { protection: None, compressed: true, index: true };

impl Layout {
    pub(crate) fn without_index(self) -> Self {
        Self { index: false, ..self }
    }

    pub(crate) fn uncompressed(self) -> Self {
        Self { compressed: false, ..self }
    }

    pub(crate) fn completed(self, version: SecureTarVersion) -> Self {
        Self { protection: Some(version), ..self }
    }

    pub(crate) fn manifest(self) -> Vec<u8> {
        self.manifest_with("2026.3.0", true)
    }

    pub(crate) fn manifest_with(self, version: &str, exclude_database: bool) -> Vec<u8> {
        let date = "2026-11-22T00:41:00.123456+01:00".parse().unwrap();
        let draft = Draft {
            name: "Nightly",
            date,
            home_assistant: version,
            exclude_database,
            protected: self.protection.is_some(),
            compressed: self.compressed,
        };
        Manifest::new(&draft).to_json()
    }

    pub(crate) fn archive(self, inner: &Inner) -> Vec<u8> {
        self.archive_of(&inner.ended(), &inner.files, &self.manifest(), &[])
    }

    /// The whole archive around the bytes of an inner tar.
    pub(crate) fn archive_of(
        self,
        tar: &[u8],
        files: &[FileEntry],
        manifest: &[u8],
        more: &[(&str, &[u8])],
    ) -> Vec<u8> {
        let name = if self.compressed { "homeassistant.tar.gz" } else { "homeassistant.tar" };
        let (body, pieces) = if self.compressed {
            let (body, pieces) = gzip(tar);
            (body, Some(pieces))
        } else {
            (tar.to_vec(), None)
        };
        let keys = self.protection.map(|version| Keys::create(version, &Password::new(PASSWORD)).unwrap());
        let (body, nonces) = seal(body, keys.as_ref());
        let mut outer =
            Outer::new(Vec::new(), MTIME).member("./backup.json", manifest).unwrap().member(name, &body).unwrap();
        for (name, body) in more {
            outer = outer.member(name, body).unwrap();
        }
        if self.index {
            let mut index = IndexBuilder::new(name);
            assert!(files.iter().all(|file| index.push(file)), "an index takes any tar");
            index.describe(manifest);
            if !self.compressed {
                index.sum(Some(Sum { length: tar.len() as u64, crc32: crc32fast::hash(tar) }));
            }
            let (index, _) = seal(index.finish(pieces.as_ref(), &nonces), keys.as_ref());
            outer = outer.member("haul.index", &index).unwrap();
        }
        outer.finish().unwrap().0
    }
}

pub(crate) fn gzip(tar: &[u8]) -> (Vec<u8>, PieceTable) {
    let mut body = Vec::new();
    let pieces = pargz::Compressor::new().threads(NonZeroUsize::MIN).compress(tar, &mut body).unwrap().pieces;
    (body, pieces)
}

pub(crate) fn seal(plain: Vec<u8>, keys: Option<&Keys>) -> (Vec<u8>, Vec<[u8; 8]>) {
    let Some(keys) = keys else { return (plain, Vec::new()) };
    let mut encryptor = Encryptor::with_keys(keys, Vec::new()).unwrap();
    encryptor.write_all(&plain).unwrap();
    let (mut container, completed) = encryptor.finish().unwrap();
    let at = completed.size_field_offset as usize;
    container[at..at + 8].copy_from_slice(&completed.size_field());
    (container, completed.nonces)
}

/// A directory for one archive and what is restored of it.
pub(crate) struct Bench {
    pub(crate) directory: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn put(&self, archive: &[u8]) -> std::path::PathBuf {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let path = self.path(&format!("{}.tar", NUMBER.fetch_add(1, Ordering::Relaxed)));
        std::fs::write(&path, archive).unwrap();
        path
    }

    pub(crate) fn verify(&self, archive: &[u8], password: Option<&str>) -> Result<Verification, VerifyError> {
        let path = self.put(archive);
        let options = VerifyOptions { password: password.map(Password::new), threads: NonZeroUsize::new(2).unwrap() };
        let result = verify(&path, &options, &|_, _| {}, &Cancellation::default());
        std::fs::remove_file(path).unwrap();
        result
    }

    pub(crate) fn restore(&self, archive: &[u8], options: &RestoreOptions) -> Result<Restoration, RestoreError> {
        let path = self.put(archive);
        let result = restore(&path, &self.path("config"), options, &|_, _| {}, &Cancellation::default());
        std::fs::remove_file(path).unwrap();
        result
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path("config").join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Names in a directory, sorted.
    pub(crate) fn names(&self, name: &str) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.path(name))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

pub(crate) fn everything() -> RestoreOptions {
    RestoreOptions {
        password: Some(Password::new(PASSWORD)),
        threads: NonZeroUsize::new(2).unwrap(),
        ..RestoreOptions::default()
    }
}

pub(crate) fn only(patterns: &[&str]) -> RestoreOptions {
    RestoreOptions { only: patterns.iter().map(|pattern| (*pattern).to_owned()).collect(), ..everything() }
}
