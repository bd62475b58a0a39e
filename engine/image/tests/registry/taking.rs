//! A registry in this process that takes what it is given, and says how often it
//! was asked for what.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::Digest;

use crate::common::{Content, Reply, Seen, Server, answer};

/// How a registry wants to be logged in to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Auth {
    Open,
    /// `user` and `pass`, with every request.
    Basic,
    /// A token for the scopes asked for, for `user` and `pass`.
    Token,
}

/// What a registry has by repository, and the uploads that have begun.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) repositories: HashMap<String, Content>,
    uploads: HashMap<String, Vec<u8>>,
    /// Answers 500 to so many of the next manifests.
    pub(crate) failures: usize,
    /// Forgets so many of the next uploads as soon as they have begun.
    pub(crate) forgotten: usize,
}

/// A registry that can be pushed to.
pub(crate) struct Taking {
    pub(crate) server: Server,
    pub(crate) state: Arc<Mutex<State>>,
    /// As many bodies of uploads have been taken at the same time.
    pub(crate) most: Arc<AtomicUsize>,
}

impl Taking {
    pub(crate) fn start(auth: Auth) -> Self {
        let state = Arc::<Mutex<State>>::default();
        let address = Arc::new(Mutex::new(String::new()));
        let (known, there) = (Arc::clone(&state), Arc::clone(&address));
        let (now, most) = (AtomicUsize::new(0), Arc::<AtomicUsize>::default());
        let highest = Arc::clone(&most);
        let server = Server::start(move |request| {
            let address = there.lock().unwrap().clone();
            if request.path.contains("/uploads/") && !request.bytes.is_empty() {
                highest.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(20));
                now.fetch_sub(1, Ordering::SeqCst);
            }
            refused(auth, &address, request)
                .unwrap_or_else(|| take(&mut known.lock().unwrap(), &address, request))
        });
        *address.lock().unwrap() = server.address.to_string();
        Self {
            server,
            state,
            most,
        }
    }

    /// Returns a request's count by method and a part of its path.
    pub(crate) fn count(&self, method: &str, part: &str) -> usize {
        let requests = self.server.requests(part);
        requests.iter().filter(|one| one.method == method).count()
    }

    pub(crate) fn manifest(&self, repository: &str, tag: &str) -> serde_json::Value {
        let state = self.state.lock().unwrap();
        let bytes = &state.repositories[repository].manifests[tag];
        serde_json::from_slice(bytes).unwrap()
    }
}

fn refused(auth: Auth, address: &str, request: &Seen) -> Option<Reply> {
    let proof = request.header("authorization").unwrap_or_default();
    let is_user = proof == "Basic dXNlcjpwYXNz";
    match auth {
        Auth::Open => None,
        Auth::Basic if is_user => None,
        Auth::Basic => {
            let body =
                r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
            let reply = Reply {
                status: 401,
                ..Reply::body(body)
            };
            Some(reply.header("WWW-Authenticate", "Basic realm=\"x\""))
        }
        Auth::Token if request.path.starts_with("/token") => Some(match proof {
            // For everybody, and good for nothing.
            "" => Reply::body(r#"{"token":"nobody|"}"#),
            _ => token(is_user, request),
        }),
        Auth::Token => {
            let needed = needed_scopes(request);
            // `/v2/` itself is for those who have shown who they are.
            let is_known = !needed.is_empty() || proof != "Bearer nobody|";
            let granted = proof.strip_prefix("Bearer ").unwrap_or_default();
            let has = |scope: &String| granted.split('|').any(|one| one.starts_with(scope));
            if is_known && !granted.is_empty() && needed.iter().all(has) {
                return None;
            }
            let mut challenge = format!(r#"Bearer realm="http://{address}/token",service="reg""#);
            if !granted.is_empty() {
                challenge += r#",error="insufficient_scope""#;
            }
            Some(Reply::status(401).header("WWW-Authenticate", challenge))
        }
    }
}

/// A token that says what it is good for.
fn token(is_user: bool, request: &Seen) -> Reply {
    let query = request.path.split_once('?').map_or("", |(_, query)| query);
    if !is_user {
        let body =
            r#"{"errors":[{"code":"UNAUTHORIZED","message":"incorrect username or password"}]}"#;
        return Reply {
            status: 401,
            ..Reply::body(body)
        };
    }
    let scopes = query.split('&').filter_map(|p| p.strip_prefix("scope="));
    let scopes: Vec<String> = scopes
        .map(|scope| {
            scope
                .replace("%3A", ":")
                .replace("%2F", "/")
                .replace("%2C", ",")
        })
        .collect();
    let mut answer = serde_json::json!({ "token": format!("t|{}", scopes.join("|")) });
    if query.contains("offline_token=true") {
        answer["refresh_token"] = "identity".into();
    }
    Reply::body(answer.to_string())
}

fn needed_scopes(request: &Seen) -> Vec<String> {
    let path = request.path.split('?').next().unwrap();
    let Some(repository) = repository_of(path) else {
        return Vec::new();
    };
    let actions = match request.method.as_str() {
        "GET" | "HEAD" => "pull",
        _ => "pull,push",
    };
    let mut needed = vec![format!("repository:{repository}:{actions}")];
    if let Some((_, from)) = request.path.split_once("&from=") {
        needed.push(format!("repository:{}:pull", from.replace("%2F", "/")));
    }
    needed
}

fn repository_of(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("/v2/")?;
    let end = ["/blobs/", "/manifests/", "/tags/"]
        .iter()
        .filter_map(|part| rest.find(part))
        .min()?;
    Some(&rest[..end])
}

fn take(state: &mut State, address: &str, request: &Seen) -> Reply {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let Some(repository) = repository_of(path).map(str::to_owned) else {
        return Reply::body("{}");
    };
    let last = path.rsplit('/').next().unwrap().to_owned();
    let method = request.method.as_str();
    if method == "POST" {
        return begin(state, &repository, address, query);
    }
    if path.contains("/uploads/") {
        return go_on(state, &repository, (&last, query), request);
    }
    if method == "PUT" {
        if state.failures > 0 {
            state.failures -= 1;
            return Reply::status(500);
        }
        let content = state.repositories.entry(repository).or_default();
        let digest = Digest::of(&request.bytes).to_string();
        for name in [last, digest.clone()] {
            content.manifests.insert(name, request.bytes.clone());
        }
        return Reply::status(201).header("Docker-Content-Digest", digest);
    }
    let content = state.repositories.entry(repository).or_default();
    if path.ends_with("/tags/list") {
        return tags(content, query);
    }
    answer(content, request)
}

/// Two tags a page.
fn tags(content: &Content, query: &str) -> Reply {
    let mut tags: Vec<&String> = content
        .manifests
        .keys()
        .filter(|name| !name.contains(':'))
        .collect();
    if tags.is_empty() {
        let body = r#"{"errors":[{"code":"NAME_UNKNOWN","message":"repository name not known to registry"}]}"#;
        return Reply {
            status: 404,
            ..Reply::body(body)
        };
    }
    tags.sort();
    let after = query.strip_prefix("last=").unwrap_or_default();
    let mut rest = tags.into_iter().filter(|tag| tag.as_str() > after);
    let page: Vec<&String> = rest.by_ref().take(2).collect();
    let reply = Reply::body(serde_json::json!({ "tags": page }).to_string());
    match (rest.next(), page.last()) {
        (Some(_), Some(last)) => reply.header(
            "Link",
            format!("</v2/test/app/tags/list?last={last}>; rel=\"next\""),
        ),
        _ => reply,
    }
}

fn begin(state: &mut State, repository: &str, address: &str, query: &str) -> Reply {
    let mount = query.strip_prefix("mount=");
    if let Some((digest, from)) = mount.and_then(|rest| rest.split_once("&from=")) {
        let from = from.replace("%2F", "/");
        let source = state.repositories.get(&from);
        if let Some(blob) = source.and_then(|source| source.blobs.get(digest)).cloned() {
            let content = state.repositories.entry(repository.to_owned()).or_default();
            content.blobs.insert(digest.to_owned(), blob);
            return Reply::status(201);
        }
    }
    let id = format!("u{}", state.uploads.len());
    if state.forgotten > 0 {
        state.forgotten -= 1;
    } else {
        state.uploads.insert(id.clone(), Vec::new());
    }
    // Absolute with a query, as docker-registry has it.
    let location = format!("http://{address}/v2/{repository}/blobs/uploads/{id}?_state=x");
    Reply::status(202).header("Location", location)
}

fn go_on(state: &mut State, repository: &str, (id, query): (&str, &str), request: &Seen) -> Reply {
    let Some(upload) = state.uploads.get_mut(id) else {
        let body = r#"{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN","message":"blob upload unknown"}]}"#;
        return Reply {
            status: 404,
            ..Reply::body(body)
        };
    };
    upload.extend_from_slice(&request.bytes);
    if request.method == "PATCH" {
        // A path only, which is allowed too.
        return Reply::status(202).header("Location", request.path.clone());
    }
    let (_, digest) = query.split_once("digest=").unwrap_or_default();
    let digest = digest.replace("%3A", ":");
    let bytes = std::mem::take(upload);
    if Digest::of(&bytes).to_string() != digest {
        let body = r#"{"errors":[{"code":"DIGEST_INVALID","message":"provided digest did not match uploaded content"}]}"#;
        return Reply {
            status: 400,
            ..Reply::body(body)
        };
    }
    let content = state.repositories.entry(repository.to_owned()).or_default();
    content.blobs.insert(digest.clone(), bytes);
    Reply::status(201).header("Docker-Content-Digest", digest)
}
