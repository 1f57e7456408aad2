//! How a stranger joins: connect to the session's address, say which layout it speaks, receive a number and two descriptors.
//!
//! The address is an abstract unix socket (sys/socket.rs): it has no file, and both sides check that the other runs as the same
//! user. The connection stays open as long as the stranger's store does; its end is how the head learns that it left.

use std::os::fd::{BorrowedFd, OwnedFd};

use serde::{Deserialize, Serialize};

use super::message::{decode, encode};
use crate::error::{Error, ErrorKind, Result, bail};
use crate::id::ParticipantId;
use crate::store::Store;
use crate::sys::{process, socket};

const PROTOCOL: u32 = 1;
const PREFIX: &str = "park-";

#[derive(Debug, Serialize, Deserialize)]
struct Hello {
    protocol: u32,
}

#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    Welcome { participant: ParticipantId },
    Refused { kind: i32, message: String },
}

/// A new session's address: unguessable, and short enough for a command line.
pub(crate) fn address(session: u64, secret: u64) -> String {
    format!("{PREFIX}{session:016x}{secret:016x}")
}

/// Joins the session at `address` from an unrelated process.
pub(crate) fn join(address: &str) -> Result<Store> {
    let well_formed = address
        .strip_prefix(PREFIX)
        .is_some_and(|hex| hex.len() == 32 && hex.bytes().all(|b| b.is_ascii_hexdigit()));
    if !well_formed {
        let shown: String = address.chars().take(64).collect();
        bail!(
            InvalidArgument,
            "a session address looks like {PREFIX}<32 hexadecimal digits>, got {shown:?}"
        );
    }
    let connection = socket::connect_to(address)?;
    socket::send(&connection, &encode(&Hello { protocol: PROTOCOL })?, &[])?;
    let Some((bytes, mut fds)) = socket::receive(&connection)? else {
        bail!(SessionClosed, "the session at {address:?} closed while joining");
    };
    match decode(&bytes)? {
        Answer::Welcome { participant } => {
            let (Some(arena), Some(control)) = (fds.pop(), fds.pop()) else {
                bail!(BadSegment, "the session at {address:?} sent no segments");
            };
            let head = process::watch(socket::peer_pid(&connection)?)?;
            Store::join(control, arena, participant, Some(connection), Some(head))
        }
        Answer::Refused { kind, message } => Err(Error::new(
            ErrorKind::from_number(kind).unwrap_or(ErrorKind::Internal),
            message,
        )),
    }
}

/// The head's side: answers one connection. Returns who joined and how to notice that it left.
pub(crate) fn welcome(store: &Store, listener: BorrowedFd<'_>) -> Result<(ParticipantId, OwnedFd, OwnedFd)> {
    let (connection, pid) = socket::accept_from(listener)?;
    let refuse = |error: &Error| {
        let answer = Answer::Refused {
            kind: error.kind() as i32,
            message: error.message().to_owned(),
        };
        encode(&answer).and_then(|bytes| socket::send(&connection, &bytes, &[]))
    };
    let admitted = socket::receive_soon(&connection).and_then(|bytes| {
        let hello: Hello = decode(&bytes)?;
        if hello.protocol != PROTOCOL {
            bail!(
                BadSegment,
                "the peer speaks protocol {}, this session speaks {PROTOCOL}",
                hello.protocol
            );
        }
        let process = process::watch(pid)?;
        let known = process.try_clone()?;
        let participant = store.admit()?;
        store.know(participant, Some(known));
        Ok((participant, process))
    });
    match admitted {
        Ok((participant, pidfd)) => {
            if let Err(error) = socket::send(&connection, &encode(&Answer::Welcome { participant })?, &store.fds()) {
                store.declare_dead(participant);
                store.dismiss(participant);
                return Err(error);
            }
            Ok((participant, connection, pidfd))
        }
        Err(error) => {
            // The peer may be gone already; the refusal is for its benefit only.
            let _ = refuse(&error);
            Err(error)
        }
    }
}
