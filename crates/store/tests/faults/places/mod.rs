//! The kinds of destinations, each with a server of its own.

mod drive;
mod machine;
mod s3;
mod sftp;
mod webdav;

use crate::bench::Place;

fn boxed(place: impl Place + 'static) -> Box<dyn Place> {
    Box::new(place)
}

pub fn apache() -> Option<Box<dyn Place>> {
    webdav::WebDav::apache().map(boxed)
}

pub fn wsgidav() -> Option<Box<dyn Place>> {
    webdav::WebDav::wsgidav().map(boxed)
}

pub fn webdav_by_patch() -> Option<Box<dyn Place>> {
    Some(boxed(webdav::WebDav::patched()))
}

pub fn nextcloud() -> Option<Box<dyn Place>> {
    Some(boxed(webdav::WebDav::chunks()))
}

pub fn drive() -> Option<Box<dyn Place>> {
    Some(boxed(drive::Drive::start()))
}

pub fn sftp() -> Option<Box<dyn Place>> {
    sftp::Sftp::start().map(boxed)
}

pub fn s3() -> Option<Box<dyn Place>> {
    Some(boxed(s3::S3::start()))
}

pub fn moto() -> Option<Box<dyn Place>> {
    s3::S3::moto().map(boxed)
}

pub fn machine() -> Option<Box<dyn Place>> {
    Some(boxed(machine::Machine::start()))
}
