//! Images built in memory and a registry that misbehaves on request.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base::Digest;
use engine_image::{ImageStore, NoProgress, PullError, PullOutcome, PullRequest, RegistryAccess};

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Blobs and manifests by digest.
#[derive(Clone, Default)]
pub(crate) struct Content {
    pub(crate) blobs: HashMap<String, Vec<u8>>,
    /// Tag or digest to manifest.
    pub(crate) manifests: HashMap<String, Vec<u8>>,
}

/// One image in a [`Content`].
#[derive(Clone)]
pub(crate) struct Built {
    pub(crate) id: Digest,
    pub(crate) manifest: Digest,
    pub(crate) layers: Vec<Digest>,
    pub(crate) diff_ids: Vec<Digest>,
}

/// Packs `files` (name, content) as a tar archive.
pub(crate) fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        // Names that the library refuses to write are wanted here.
        let bytes = header.as_mut_bytes();
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        if name.ends_with('/') {
            header.set_entry_type(tar::EntryType::Directory);
            header.set_mode(0o755);
        }
        header.set_cksum();
        builder.append(&header, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Bytes that do not compress, the same for the same seed.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(length).collect()
}

impl Content {
    /// Adds an image of `archives`, each packed by `pack`, under `tag`.
    pub(crate) fn image(
        &mut self,
        tag: &str,
        archives: &[Vec<u8>],
        pack: fn(&[u8]) -> Vec<u8>,
    ) -> Built {
        self.image_for(tag, archives, pack, "amd64")
    }

    pub(crate) fn image_for(
        &mut self,
        tag: &str,
        archives: &[Vec<u8>],
        pack: fn(&[u8]) -> Vec<u8>,
        architecture: &str,
    ) -> Built {
        let diff_ids: Vec<Digest> = archives.iter().map(|a| Digest::of(a)).collect();
        let config = serde_json::json!({
            "architecture": architecture, "os": "linux", "created": "2024-01-02T03:04:05Z",
            "config": {"Cmd": ["/bin/sh"], "Labels": {"tag": tag}, "Healthcheck": {"Test": ["NONE"]}},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = config.to_string().into_bytes();
        let packed: Vec<Vec<u8>> = archives.iter().map(|a| pack(a)).collect();
        let descriptor = |media: &str, bytes: &[u8]| serde_json::json!({"mediaType": media, "digest": Digest::of(bytes), "size": bytes.len()});
        let layers: Vec<_> = packed
            .iter()
            .map(|p| descriptor("application/vnd.oci.image.layer.v1.tar+gzip", p))
            .collect();
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": layers,
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        });
        let manifest = manifest.to_string().into_bytes();
        let built = Built {
            id: Digest::of(&config),
            manifest: Digest::of(&manifest),
            layers: packed.iter().map(|p| Digest::of(p)).collect(),
            diff_ids,
        };
        for blob in packed.into_iter().chain([config]) {
            self.blobs.insert(Digest::of(&blob).to_string(), blob);
        }
        self.manifests
            .insert(built.manifest.to_string(), manifest.clone());
        self.manifests.insert(tag.to_owned(), manifest);
        built
    }

    /// Adds an index of `entries` (platform, image) under `tag`.
    pub(crate) fn index(&mut self, tag: &str, entries: &[(&str, &Built)]) -> Digest {
        let manifests: Vec<_> = entries
            .iter()
            .map(|(architecture, built)| {
                let size = self.manifests[&built.manifest.to_string()].len();
                serde_json::json!({"mediaType": OCI_MANIFEST, "digest": built.manifest, "size": size,
                    "platform": {"os": "linux", "architecture": architecture}})
            })
            .collect();
        let index =
            serde_json::json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests});
        let index = index.to_string().into_bytes();
        let digest = Digest::of(&index);
        self.manifests.insert(digest.to_string(), index.clone());
        self.manifests.insert(tag.to_owned(), index);
        digest
    }
}

/// A request as the server saw it; header names in lower case.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
    pub(crate) bytes: Vec<u8>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// What to answer; after `cut` bytes of the body the connection closes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) cut: Option<usize>,
    /// Keeps the connection open after the cut until the server ends.
    pub(crate) stall: bool,
}

impl Reply {
    pub(crate) fn status(status: u16) -> Self {
        Self {
            status,
            ..Self::default()
        }
    }

    pub(crate) fn body(body: impl Into<Vec<u8>>) -> Self {
        Self {
            status: 200,
            body: body.into(),
            ..Self::default()
        }
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

type Handler = dyn Fn(&Seen) -> Reply + Send + Sync;

/// An HTTP server on loopback, a thread per connection.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Mutex<Vec<Seen>>>,
    /// So many of the next bodies of uploads are broken off.
    pub(crate) breaks: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Server {
    pub(crate) fn start(handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, stop) = (
            Arc::<Mutex<Vec<Seen>>>::default(),
            Arc::<AtomicBool>::default(),
        );
        let handler: Arc<Handler> = Arc::new(handler);
        let breaks = Arc::<AtomicUsize>::default();
        let (log, ended) = (Arc::clone(&seen), Arc::clone(&stop));
        let broken = Arc::clone(&breaks);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                let (handler, log, ended) =
                    (Arc::clone(&handler), Arc::clone(&log), Arc::clone(&ended));
                let broken = Arc::clone(&broken);
                std::thread::spawn(move || {
                    let mut reader = BufReader::new(stream.unwrap());
                    // Nothing, of what is broken off.
                    if let Some(request) = read_request(&mut reader, &broken) {
                        serve(reader.into_inner(), request, (&*handler, &log, &ended));
                    }
                });
            }
        });
        Self {
            address,
            seen,
            breaks,
            stop,
        }
    }

    /// A registry of `content` that behaves.
    pub(crate) fn registry(content: Content) -> Self {
        Self::start(move |request| answer(&content, request))
    }

    pub(crate) fn reference(&self, rest: &str) -> String {
        format!("{}/test/{rest}", self.address)
    }

    pub(crate) fn requests(&self, containing: &str) -> Vec<Seen> {
        let seen = self.seen.lock().unwrap();
        seen.iter()
            .filter(|request| request.path.contains(containing))
            .cloned()
            .collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
    }
}

fn serve(
    stream: TcpStream,
    request: Seen,
    (handler, log, ended): (&Handler, &Mutex<Vec<Seen>>, &AtomicBool),
) {
    log.lock().unwrap().push(request.clone());
    let reply = handler(&request);
    let mut head = format!("HTTP/1.1 {} X\r\nConnection: close\r\n", reply.status);
    if !reply
        .headers
        .iter()
        .any(|(name, _)| name == "Content-Length")
    {
        head += &format!("Content-Length: {}\r\n", reply.body.len());
    }
    for (name, value) in &reply.headers {
        head += &format!("{name}: {value}\r\n");
    }
    let is_head = request.method == "HEAD";
    let cut = if is_head { Some(0) } else { reply.cut };
    let body = &reply.body[..cut.unwrap_or(reply.body.len()).min(reply.body.len())];
    let mut stream = stream;
    // The client may have gone away; that is its right.
    let sent = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(b"\r\n"));
    drop(sent.and_then(|()| stream.write_all(body)));
    while reply.stall && !ended.load(Ordering::SeqCst) {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

fn read_request(reader: &mut BufReader<TcpStream>, breaks: &AtomicUsize) -> Option<Seen> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    if !path.starts_with('/') {
        return None;
    }
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").and_then(|l| l.parse().ok());
    let is_chunked = headers.contains_key("transfer-encoding");
    let has_body = is_chunked || length.is_some_and(|length| length > 0);
    let less = |left: usize| left.checked_sub(1);
    if has_body
        && path.contains("/uploads/")
        && breaks
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
            .is_ok()
    {
        reader.read_exact(&mut [0; 10]).ok()?;
        return None;
    }
    let bytes = match is_chunked {
        true => read_chunks(reader)?,
        false => {
            let mut bytes = vec![0; length.unwrap_or(0)];
            reader.read_exact(&mut bytes).ok()?;
            bytes
        }
    };
    Some(Seen {
        method,
        path,
        headers,
        body: String::from_utf8_lossy(&bytes).into_owned(),
        bytes,
    })
}

fn read_chunks(reader: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let length = usize::from_str_radix(line.trim(), 16).ok()?;
        let mut chunk = vec![0; length + 2];
        reader.read_exact(&mut chunk).ok()?;
        if length == 0 {
            return Some(all);
        }
        all.extend_from_slice(&chunk[..length]);
    }
}

/// What a registry of `content` answers.
pub(crate) fn answer(content: &Content, request: &Seen) -> Reply {
    if request.path == "/v2/" {
        return Reply::body("{}").header("Docker-Distribution-API-Version", "registry/2.0");
    }
    let last = request.path.rsplit('/').next().unwrap();
    if request.path.contains("/manifests/") {
        let Some(manifest) = content.manifests.get(last) else {
            let body = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
            return Reply {
                status: 404,
                ..Reply::body(body)
            };
        };
        return Reply::body(manifest.clone());
    }
    let Some(blob) = content.blobs.get(last) else {
        return Reply::status(404);
    };
    match range(request) {
        Some(start) if start >= blob.len() => Reply::status(416),
        Some(start) => {
            let range = format!("bytes {start}-{}/{}", blob.len() - 1, blob.len());
            Reply {
                status: 206,
                ..Reply::body(&blob[start..])
            }
            .header("Content-Range", range)
        }
        None => Reply::body(blob.clone()),
    }
}

/// Returns where a range request begins.
pub(crate) fn range(request: &Seen) -> Option<usize> {
    request
        .header("range")?
        .strip_prefix("bytes=")?
        .strip_suffix('-')?
        .parse()
        .ok()
}

pub(crate) async fn pull(store: &ImageStore, reference: &str) -> Result<PullOutcome, PullError> {
    pull_with(store, reference, RegistryAccess::default()).await
}

pub(crate) async fn pull_with(
    store: &ImageStore,
    reference: &str,
    access: RegistryAccess,
) -> Result<PullOutcome, PullError> {
    let reference = reference.parse().unwrap();
    let request = PullRequest {
        reference,
        platform: None,
        access,
    };
    store.pull(&request, Arc::new(NoProgress)).await
}

/// Returns the names in a directory, sorted.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
