//! A depot in a bucket of any S3-compatible store. One thread of its own drives the requests.
//!
//! An object becomes visible whole or not at all, and lasts once the store says so. The lock is an
//! object that is made only if it is not there; a writer that dies leaves it, and a person breaks
//! it. The switch is safe without it: it is made only if nobody else switched.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use std::{env, io, process, thread};

use futures_util::StreamExt;
use neap_engine::digest::Digest;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{
    Error, GetOptions, GetRange, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode,
    PutPayload, UpdateVersion,
};

use crate::driver::Driver;
use crate::limits::{HOLDER_LEN_MAX, LIST_COUNT_MAX};
use crate::name::{Folder, Name};
use crate::store::{self, Edit, Kind, Listed, Lock, LockError, Object, Put, Stamp, Store};

/// A bucket, or all below a prefix of it.
pub struct S3 {
    bucket: Arc<Bucket>,
    title: String,
}

/// Where a bucket is and who asks. What is not said comes from the environment: `AWS_ENDPOINT`,
/// `AWS_REGION`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, or the machine's own role.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// The bucket.
    pub bucket: String,
    /// What all names begin with; may be empty.
    pub prefix: String,
    /// Address of the server. One that begins with `http://` is spoken to without TLS.
    pub endpoint: Option<String>,
    /// Key id and secret.
    pub key: Option<(String, String)>,
}

struct Bucket {
    store: Arc<AmazonS3>,
    prefix: String,
    driver: Driver,
    crossed: AtomicU64,
}

struct S3Object {
    bucket: Arc<Bucket>,
    path: Path,
    meta: ObjectMeta,
}

struct Pending {
    bucket: Arc<Bucket>,
    path: Path,
    buffer: Vec<u8>,
    upload: Option<Box<dyn MultipartUpload>>,
}

struct Held {
    bucket: Arc<Bucket>,
    path: Path,
    etag: Option<String>,
}

impl S3 {
    /// A depot at `s3://bucket/prefix`, all else from the environment.
    ///
    /// # Errors
    /// If the address makes no sense, or the environment lacks what is needed.
    pub fn open(url: &str) -> io::Result<Self> {
        let rest = url.strip_prefix("s3://").unwrap_or(url);
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            let text = format!("{url}: no bucket is named; write s3://BUCKET/PREFIX");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let (bucket, prefix) = (bucket.into(), prefix.trim_matches('/').into());
        Self::at(&Place { bucket, prefix, ..Place::default() })
    }

    /// A depot at a place.
    ///
    /// # Errors
    /// As [`S3::open`].
    pub fn at(place: &Place) -> io::Result<Self> {
        // An error says that the process chose a provider already: then that one is used.
        drop(rustls::crypto::ring::default_provider().install_default());
        let mut builder = AmazonS3Builder::from_env().with_bucket_name(&place.bucket);
        let of_environment =
            || ["AWS_ENDPOINT", "AWS_ENDPOINT_URL"].iter().find_map(|name| env::var(name).ok());
        if let Some(endpoint) = place.endpoint.clone().or_else(of_environment) {
            builder = builder.with_allow_http(endpoint.starts_with("http://"));
            builder = builder.with_endpoint(endpoint);
        }
        if let Some((id, secret)) = &place.key {
            builder = builder.with_access_key_id(id).with_secret_access_key(secret);
        }
        let store = Arc::new(builder.build().map_err(of_store)?);
        let title = format!("s3://{}/{}", place.bucket, place.prefix);
        let prefix = place.prefix.clone();
        let (driver, crossed) = (Driver::new("neap-s3")?, AtomicU64::new(0));
        Ok(Self { bucket: Arc::new(Bucket { store, prefix, driver, crossed }), title })
    }

    fn path(&self, name: &Name) -> Path {
        self.bucket.path(&name.to_string())
    }

    /// What a folder holds, page by page, never more than is allowed.
    fn entries(&self, folder: &Folder) -> io::Result<Vec<Listed>> {
        let prefix = self.bucket.path(&folder.path());
        let store = Arc::clone(&self.bucket.store);
        self.bucket.driver.run(async move {
            let mut objects = store.list(Some(&prefix));
            let mut entries = Vec::new();
            while let Some(meta) = objects.next().await {
                let meta = meta.map_err(of_store)?;
                if entries.len() == LIST_COUNT_MAX {
                    let text = format!("{prefix}: more than {LIST_COUNT_MAX} entries");
                    return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
                }
                let below = meta.location.prefix_match(&prefix).map(|parts| parts.count());
                // What lies deeper is no file of this folder.
                if below == Some(1) {
                    entries.push(file(&meta));
                }
            }
            Ok(entries)
        })
    }

    /// What is at the top, or which devices there are: few, and listed without what is below.
    fn above(&self, folder: &Folder) -> io::Result<Vec<Listed>> {
        let prefix = self.bucket.path(&folder.path());
        let store = Arc::clone(&self.bucket.store);
        let listed = self
            .bucket
            .driver
            .run(async move { store.list_with_delimiter(Some(&prefix)).await.map_err(of_store) })?;
        let mut entries: Vec<_> = listed.objects.iter().map(file).collect();
        for prefix in &listed.common_prefixes {
            let file = prefix.filename().unwrap_or_default().to_owned();
            entries.push(Listed { file, kind: Kind::Folder, len: 0 });
        }
        if entries.len() > LIST_COUNT_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(entries)
    }
}

impl Store for S3 {
    fn open(&self, name: &Name) -> io::Result<Option<Box<dyn Object>>> {
        let path = self.path(name);
        let bucket = Arc::clone(&self.bucket);
        let meta = bucket.head(&path)?;
        Ok(meta.map(|meta| Box::new(S3Object { bucket, path, meta }) as Box<dyn Object>))
    }

    fn list(&self, folder: &Folder) -> io::Result<Vec<Listed>> {
        let mut entries = match folder {
            Folder::Top | Folder::Receipts => self.above(folder)?,
            _ => self.entries(folder)?,
        };
        entries.sort_unstable();
        Ok(entries)
    }

    fn put(&self, name: &Name) -> io::Result<Box<dyn Put + '_>> {
        let (bucket, path) = (Arc::clone(&self.bucket), self.path(name));
        Ok(Box::new(Pending { bucket, path, buffer: Vec::new(), upload: None }))
    }

    fn stamp(&self, name: &Name) -> io::Result<Stamp> {
        let meta = self.bucket.head(&self.path(name))?;
        Ok(Stamp(meta.and_then(|meta| meta.e_tag)))
    }

    fn switch(&self, name: &Name, seen: &Stamp, content: &[u8]) -> io::Result<()> {
        let mode = match &seen.0 {
            None => PutMode::Create,
            Some(etag) => {
                PutMode::Update(UpdateVersion { e_tag: Some(etag.clone()), version: None })
            }
        };
        self.bucket.put(&self.path(name), content.to_vec(), mode).map(|_| ())
    }

    fn delete(&self, name: &Name) -> io::Result<()> {
        self.bucket.delete(&self.path(name))
    }

    fn settle(&self, _folder: &Folder) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, who: &str) -> Result<Box<dyn Lock>, LockError> {
        let path = self.path(&Name::lock());
        // Two locks of one name must differ, or one writer would take the other's for its own.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mark = format!("{} {} {:?}", process::id(), now.as_nanos(), thread::current().id());
        let mark = Digest::of(mark.as_bytes());
        let content = format!("{}\n{mark}\n", who.lines().next().unwrap_or_default());
        match self.bucket.put(&path, content.into_bytes(), PutMode::Create) {
            Ok(etag) => Ok(Box::new(Held { bucket: Arc::clone(&self.bucket), path, etag })),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(LockError::Held(self.holder()?.unwrap_or_default()))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn break_lock(&self) -> io::Result<Option<String>> {
        let holder = self.holder()?;
        if holder.is_some() {
            self.bucket.delete(&self.path(&Name::lock()))?;
        }
        Ok(holder)
    }

    fn edit(&self, _name: &Name) -> io::Result<Box<dyn Edit>> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "a bucket has no files in the making"))
    }

    fn promote(&self, _from: &Name, _to: &Name) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "a bucket has no files in the making"))
    }

    fn title(&self) -> String {
        self.title.clone()
    }

    /// Of reading only: budgets are of those who fetch.
    fn crossed(&self) -> u64 {
        self.bucket.crossed.load(Ordering::Relaxed)
    }
}

impl S3 {
    fn holder(&self) -> io::Result<Option<String>> {
        let content = store::read(self, &Name::lock(), 2 * HOLDER_LEN_MAX as u64)?;
        let text = content.map(|content| String::from_utf8_lossy(&content).into_owned());
        Ok(text.map(|text| text.lines().next().unwrap_or_default().to_owned()))
    }
}

impl Bucket {
    fn path(&self, below: &str) -> Path {
        Path::from(format!("{}/{below}", self.prefix))
    }

    /// Counts a request and the bytes of its answer, with a 16th for headers of packets.
    fn count(&self, len: u64) {
        self.crossed.fetch_add(REQUEST_COST + len + len / 16, Ordering::Relaxed);
    }

    fn head(&self, path: &Path) -> io::Result<Option<ObjectMeta>> {
        self.count(0);
        let (store, path) = (Arc::clone(&self.store), path.clone());
        self.driver.run(async move {
            match store.head(&path).await {
                Ok(meta) => Ok(Some(meta)),
                Err(Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(of_store(error)),
            }
        })
    }

    fn put(&self, path: &Path, content: Vec<u8>, mode: PutMode) -> io::Result<Option<String>> {
        let (store, path) = (Arc::clone(&self.store), path.clone());
        self.driver.run(async move {
            let put = store.put_opts(&path, PutPayload::from(content), mode.into()).await;
            put.map(|put| put.e_tag).map_err(of_store)
        })
    }

    fn delete(&self, path: &Path) -> io::Result<()> {
        let (store, path) = (Arc::clone(&self.store), path.clone());
        self.driver.run(async move {
            match store.delete(&path).await {
                Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
                Err(error) => Err(of_store(error)),
            }
        })
    }
}

impl Object for S3Object {
    fn len(&self) -> u64 {
        self.meta.size
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let end = offset.saturating_add(bytes.len() as u64);
        if end > self.meta.size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if bytes.is_empty() {
            return Ok(());
        }
        let (store, path) = (Arc::clone(&self.bucket.store), self.path.clone());
        let options = GetOptions {
            range: Some(GetRange::Bounded(offset..end)),
            // An object that was replaced since is not the one that was opened.
            if_match: self.meta.e_tag.clone(),
            ..GetOptions::default()
        };
        self.bucket.count(end - offset);
        let found = self.bucket.driver.run(async move {
            let got = store.get_opts(&path, options).await.map_err(of_store)?;
            got.bytes().await.map_err(of_store)
        })?;
        if found.len() != bytes.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.copy_from_slice(&found);
        Ok(())
    }
}

impl Put for Pending {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(bytes);
        // The last piece waits for `finish`, so that an upload in pieces never ends with none.
        while self.buffer.len() > PIECE_LEN {
            let rest = self.buffer.split_off(PIECE_LEN);
            let piece = std::mem::replace(&mut self.buffer, rest);
            self.upload(piece)?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        let last = std::mem::take(&mut self.buffer);
        if self.upload.is_none() {
            return self.bucket.put(&self.path, last, PutMode::Overwrite).map(|_| ());
        }
        self.upload(last)?;
        let Some(mut upload) = self.upload.take() else { return Ok(()) };
        let bucket = Arc::clone(&self.bucket);
        let (upload, done) = bucket.driver.run(async move {
            let done = upload.complete().await.map(|_| ()).map_err(of_store);
            Ok((upload, done))
        })?;
        if done.is_err() {
            self.upload = Some(upload);
        }
        done
    }
}

impl Pending {
    fn upload(&mut self, piece: Vec<u8>) -> io::Result<()> {
        let bucket = Arc::clone(&self.bucket);
        let (store, path, begun) =
            (Arc::clone(&bucket.store), self.path.clone(), self.upload.take());
        let (upload, done) = bucket.driver.run(async move {
            let mut upload = match begun {
                Some(upload) => upload,
                None => store.put_multipart(&path).await.map_err(of_store)?,
            };
            let done = upload.put_part(PutPayload::from(piece)).await.map_err(of_store);
            Ok((upload, done))
        })?;
        self.upload = Some(upload);
        done
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(mut upload) = self.upload.take() {
            // What cannot be given up now is given up by the bucket's own rule for old uploads.
            drop(self.bucket.driver.run(async move { upload.abort().await.map_err(of_store) }));
        }
    }
}

impl Lock for Held {
    fn check(&self) -> io::Result<()> {
        let now = self.bucket.head(&self.path)?.and_then(|meta| meta.e_tag);
        if now.is_some() && now == self.etag {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::PermissionDenied, "somebody broke the lock"))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.check().is_ok() {
            // If it stays, the next writer is told whose it was and breaks it.
            drop(self.bucket.delete(&self.path));
        }
    }
}

fn file(meta: &ObjectMeta) -> Listed {
    let file = meta.location.filename().unwrap_or_default().to_owned();
    Listed { file, kind: Kind::File, len: meta.size }
}

fn of_store(error: Error) -> io::Error {
    let kind = match error {
        Error::NotFound { .. } => io::ErrorKind::NotFound,
        Error::AlreadyExists { .. } | Error::Precondition { .. } => io::ErrorKind::AlreadyExists,
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            io::ErrorKind::PermissionDenied
        }
        Error::NotImplemented { .. } | Error::NotSupported { .. } => io::ErrorKind::Unsupported,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

/// Bytes of one piece of a long upload. S3 takes 10,000 pieces of at least 5 MiB: 78 GiB, and a
/// file of a depot has less than 4.
const PIECE_LEN: usize = 8 << 20;

/// Bytes of a request, with its signature, and of the headers of its answer.
const REQUEST_COST: u64 = 2 << 10;
