//! A small object, stored in one request: the marks and notes beside archives.

use bytes::Bytes;

use crate::{
    error::StoreError,
    parts::{Activity, Part},
    store::{Completed, Expected, Store},
};

/// Puts `content` under `name`. Fails with [`Kind::Exists`](crate::Kind::Exists) when the name already exists.
pub async fn put(store: &dyn Store, name: &str, content: Bytes) -> Result<(), StoreError> {
    let length = content.len() as u64;
    let upload = store.create(name, Expected::exactly(length)).await?;
    let part = Part {
        index: 0,
        offset: 0,
        data: content.into(),
        total: Some(length),
        last: true,
        activity: Activity::default(),
    };
    let done = match upload.put(&part).await {
        Ok(()) => upload.commit(&Completed { length, parts: 1, md5: None }).await.map(drop),
        Err(error) => Err(error),
    };
    if done.is_err() {
        // Whatever this says, the first error is the one that counts.
        let _ = upload.abort().await;
    }
    done
}
