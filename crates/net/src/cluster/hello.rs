//! The hello: version, names and purpose, and a mutual challenge by HMAC-SHA256 with the cluster's key.
//!
//! ```text
//! client -> server   "TNDM" version   purpose, client's name, client's nonce, which cluster the client is part of, and
//!                    which start of its node it is
//! server -> client   ok: server's name, server's nonce, HMAC("server", all of the above)    or a refusal in words
//! client -> server   ok: HMAC("client", all of the above)                                  or a refusal in words
//! server -> client   ok: which cluster the server is part of, for this purpose             or a refusal in words
//! ```
//!
//! Each proof covers the role, the version, the purpose, both names and both nonces: none can be replayed, reflected
//! or used for another purpose. Which cluster a client says it is part of is no secret and proves nothing: it keeps apart
//! what was confused. So do which start of its node it is, and which cluster the server is part of. Versions that do not know of these
//! say nothing behind the nonce, behind the one, or behind the last ok, and read nothing there.

use std::fmt::{self, Write};
use std::io;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use super::PROTOCOL;
use super::id::{self, ClusterId};
use super::incarnation::Incarnation;

const MAGIC: &[u8; 4] = b"TNDM";
const NONCE: usize = 32;
const PROOF: usize = 32;
/// Names and purposes are short; a longer one is hostile.
const MAX_NAME: usize = 255;
/// The longest message of a hello in bytes.
const MAX_MESSAGE: usize = 1024;
const OK: u8 = 0;
const REFUSED: u8 = 1;

/// The secret that the nodes of a cluster share.
#[derive(Clone)]
pub struct ClusterKey(Arc<[u8]>);

impl ClusterKey {
    /// A key from the bytes of the file's `key`, whatever they look like.
    pub fn new(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// A key for another purpose, in hexadecimal: whoever has it learns nothing of this one.
    pub fn derive(&self, purpose: &str) -> String {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(b"derived key: ");
        mac.update(purpose.as_bytes());
        let bytes = mac.finalize().into_bytes();
        bytes.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// A key nobody else has: for a cluster of one node that was given none.
    pub fn random() -> io::Result<Self> {
        Ok(Self(random::<32>()?.as_slice().into()))
    }

    /// The bytes it was made from, for a process that takes this one's place. They are a secret.
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterKey(secret)")
    }
}

/// Why a hello came to nothing.
#[derive(Clone, Debug)]
pub(super) enum HelloError {
    /// The connection failed.
    Io(Arc<io::Error>),
    /// The other side refused, in these words.
    TheyRefused(String),
    /// This side refused, in these words; the other side was told.
    WeRefused(String),
    /// The same, for the present: that is no news.
    NotYet,
}

impl From<io::Error> for HelloError {
    fn from(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

impl fmt::Display for HelloError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "{error}"),
            Self::TheyRefused(why) => write!(f, "refused by the other side: {why}"),
            Self::WeRefused(why) => write!(f, "{why}"),
            Self::NotYet => f.write_str("it may try again"),
        }
    }
}

/// What both sides know when a hello is over, and what the proofs cover.
struct Transcript {
    purpose: String,
    client: String,
    server: String,
    client_nonce: [u8; NONCE],
    server_nonce: [u8; NONCE],
}

impl Transcript {
    fn mac(&self, key: &ClusterKey, role: &str) -> Hmac<Sha256> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&key.0).expect("HMAC takes keys of any length");
        for text in [role, &self.purpose, &self.client, &self.server] {
            mac.update(&(text.len() as u16).to_be_bytes());
            mac.update(text.as_bytes());
        }
        mac.update(&PROTOCOL.to_be_bytes());
        mac.update(&self.client_nonce);
        mac.update(&self.server_nonce);
        mac
    }

    fn proof(&self, key: &ClusterKey, role: &str) -> [u8; PROOF] {
        self.mac(key, role).finalize().into_bytes().into()
    }

    /// Compares in constant time.
    fn is_proof(&self, key: &ClusterKey, role: &str, proof: &[u8]) -> bool {
        self.mac(key, role).verify_slice(proof).is_ok()
    }
}

/// The hello of the side that connected, which is part of `cluster`, and of this start of its node. `server` is who should be at
/// the other end. What it says which cluster it is part of.
pub(super) async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    key: &ClusterKey,
    purpose: &str,
    (client, incarnation): (&str, Incarnation),
    server: &str,
    cluster: Option<u64>,
) -> Result<Option<u64>, HelloError> {
    let client_nonce = random::<NONCE>()?;
    let mut hello = Vec::new();
    put_text(&mut hello, purpose)?;
    put_text(&mut hello, client)?;
    hello.extend_from_slice(&client_nonce);
    hello.extend_from_slice(&id::said(cluster).to_be_bytes());
    hello.extend_from_slice(&incarnation.number().to_be_bytes());
    let mut first = MAGIC.to_vec();
    first.extend_from_slice(&PROTOCOL.to_be_bytes());
    put_message(&mut first, &hello);
    stream.write_all(&first).await?;

    let answer = read_answer(stream).await?;
    let mut rest = &answer[..];
    let parsed = take_text(&mut rest).zip(take::<NONCE>(&mut rest));
    let (Some((name, server_nonce)), Some(proof)) = (parsed, take::<PROOF>(&mut rest)) else {
        return Err(refuse(stream, "malformed hello").await);
    };
    let transcript = Transcript {
        purpose: purpose.into(),
        client: client.into(),
        server: name,
        client_nonce,
        server_nonce,
    };
    if !transcript.is_proof(key, "server", &proof) {
        let why = format!(
            "node {} holds another cluster key than node {client}",
            transcript.server
        );
        return Err(refuse(stream, &why).await);
    }
    if transcript.server != server {
        let why = format!(
            "this is node {}, and {client} looked for {server} here",
            transcript.server
        );
        return Err(refuse(stream, &why).await);
    }
    let mut last = vec![OK];
    put_message(&mut last, &transcript.proof(key, "client"));
    stream.write_all(&last).await?;
    let said = read_answer(stream).await?;
    Ok(id::known(
        take(&mut &said[..]).map_or(0, u64::from_be_bytes),
    ))
}

/// Who has connected, as it proved.
pub(super) struct Client {
    pub name: String,
    pub purpose: String,
    /// The cluster that it says it is part of.
    pub cluster: Option<u64>,
    /// The cluster that it was told this side is part of.
    pub told: Option<u64>,
    /// Which start of its node it says that it is.
    pub incarnation: Incarnation,
    /// When its challenge was made, which it answered.
    pub challenged: Instant,
}

/// What keeps somebody out who has proved who it is.
pub(super) enum Kept {
    /// In these words.
    Out(String),
    /// For the present.
    Waiting(String),
}

/// The hello of the side that was connected to. Of a purpose it is `known` which cluster its replies are part of, if it is
/// known at all; and who has come so far is to be let in by `admit`.
pub(super) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    key: &ClusterKey,
    server: &str,
    known: impl Fn(&str) -> Option<ClusterId>,
    admit: impl FnOnce(&Client) -> Result<(), Kept>,
) -> Result<Client, HelloError> {
    let mut prefix = [0; 6];
    stream.read_exact(&mut prefix).await?;
    if &prefix[..4] != MAGIC {
        // Whatever this is, it would not understand a refusal.
        return Err(HelloError::WeRefused(
            "it does not speak the cluster protocol".into(),
        ));
    }
    let version = u16::from_be_bytes([prefix[4], prefix[5]]);
    if version != PROTOCOL {
        let why = format!(
            "node {server} speaks version {PROTOCOL} of the cluster protocol, not {version}"
        );
        return Err(refuse(stream, &why).await);
    }
    let message = read_message(stream).await?;
    let mut rest = &message[..];
    let parsed = take_text(&mut rest).zip(take_text(&mut rest));
    let (Some((purpose, client)), Some(client_nonce)) = (parsed, take::<NONCE>(&mut rest)) else {
        return Err(refuse(stream, "malformed hello").await);
    };
    let claimed = take(&mut rest).map_or(0, u64::from_be_bytes);
    let incarnation = Incarnation::of(take(&mut rest).map_or(0, u64::from_be_bytes));
    let challenged = Instant::now();
    let transcript = Transcript {
        purpose,
        client,
        server: server.into(),
        client_nonce,
        server_nonce: random::<NONCE>()?,
    };
    let mut answer = Vec::new();
    put_text(&mut answer, server)?;
    answer.extend_from_slice(&transcript.server_nonce);
    answer.extend_from_slice(&transcript.proof(key, "server"));
    let mut second = vec![OK];
    put_message(&mut second, &answer);
    stream.write_all(&second).await?;

    let proof = read_answer(stream).await?;
    if !transcript.is_proof(key, "client", &proof) {
        let why = format!(
            "node {} holds another cluster key than node {server}",
            transcript.client
        );
        return Err(refuse(stream, &why).await);
    }
    // Only now, so that a stranger cannot ask what a node does.
    let Some(cluster) = known(&transcript.purpose) else {
        let why = format!(
            "node {server} has no part in this now ({:?}): it has stopped, as the log there says why, or its file gives it one only since it was started, and a restart of it is needed",
            transcript.purpose
        );
        return Err(refuse(stream, &why).await);
    };
    let claimed = id::known(claimed);
    let told = cluster.get();
    if let (Some(theirs), Some(ours)) = (claimed, told)
        && theirs != ours
    {
        let why = another_cluster((server, ours), (&transcript.client, theirs));
        return Err(refuse(stream, &why).await);
    }
    let client = Client {
        name: transcript.client,
        purpose: transcript.purpose,
        cluster: claimed,
        told,
        incarnation,
        challenged,
    };
    match admit(&client) {
        Ok(()) => {}
        Err(Kept::Out(why)) => return Err(refuse(stream, &why).await),
        Err(Kept::Waiting(why)) => {
            refuse(stream, &why).await;
            return Err(HelloError::NotYet);
        }
    }
    let mut last = vec![OK];
    put_message(&mut last, &id::said(told).to_be_bytes());
    stream.write_all(&last).await?;
    Ok(client)
}

/// Why two nodes have nothing to say to one another.
pub fn another_cluster((server, ours): (&str, u64), (client, theirs): (&str, u64)) -> String {
    format!(
        "node {server} holds the state of cluster {ours:016x} and node {client} that of {theirs:016x}: one of the two is named by a file that is not of its cluster, or has a state from before the other's cluster was formed, which is given up by removing `sessions` in its state directory while it is stopped"
    )
}

/// Tells the other side why, if it still listens.
async fn refuse<S: AsyncWrite + Unpin>(stream: &mut S, why: &str) -> HelloError {
    let mut message = vec![REFUSED];
    put_message(&mut message, &why.as_bytes()[..why.len().min(MAX_MESSAGE)]);
    // It may be gone already; the refusal stands.
    let _ = stream.write_all(&message).await;
    let _ = stream.shutdown().await;
    HelloError::WeRefused(why.into())
}

async fn read_answer<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Vec<u8>, HelloError> {
    let status = stream.read_u8().await?;
    let message = read_message(stream).await?;
    match status {
        OK => Ok(message),
        _ => Err(HelloError::TheyRefused(
            String::from_utf8_lossy(&message)
                .chars()
                .filter(|c| !c.is_control())
                .collect(),
        )),
    }
}

async fn read_message<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Vec<u8>> {
    let length = usize::from(stream.read_u16().await?);
    if length > MAX_MESSAGE {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a hello too long",
        ));
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

fn put_message(out: &mut Vec<u8>, message: &[u8]) {
    out.extend_from_slice(&(message.len() as u16).to_be_bytes());
    out.extend_from_slice(message);
}

fn put_text(out: &mut Vec<u8>, text: &str) -> io::Result<()> {
    let length = u8::try_from(text.len()).map_err(|_| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("a name over {MAX_NAME} bytes"),
        )
    })?;
    out.push(length);
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

fn take_text(rest: &mut &[u8]) -> Option<String> {
    let (&length, tail) = rest.split_first()?;
    let (text, tail) = tail.split_at_checked(usize::from(length))?;
    *rest = tail;
    let text = std::str::from_utf8(text).ok()?;
    // It goes into events.
    (!text.chars().any(char::is_control)).then(|| text.to_owned())
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (array, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*array)
}

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(bytes)
}
