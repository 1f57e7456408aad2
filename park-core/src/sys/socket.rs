//! Local sequenced-packet sockets that carry descriptors: how a stranger joins a session and how the zygote gets its segments.
//!
//! Listening sockets live in Linux's abstract namespace: they have no file, so nothing is left behind when every process of a
//! session is killed at once. Access is by the peer's user id, which the kernel vouches for.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::socket_peercred;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen, recvmsg, sendmsg,
    socket_with, socketpair,
};

use crate::error::{Error, ErrorKind, Result, bail};

/// Longest packet either side sends.
pub const MAX_PACKET: usize = 64 << 10;

fn io(what: &str, error: rustix::io::Errno) -> Error {
    Error::new(ErrorKind::Io, format!("cannot {what}: {error}"))
}

/// A connected pair, both ends close-on-exec.
pub fn pair() -> Result<(OwnedFd, OwnedFd)> {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(|e| io("create a socket pair", e))
}

/// Listens under an abstract name.
pub fn listen_at(name: &str) -> Result<OwnedFd> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(|e| io("create a socket", e))?;
    bind(&socket, &address(name)?).map_err(|e| io("bind the session's socket", e))?;
    listen(&socket, 64).map_err(|e| io("listen on the session's socket", e))?;
    Ok(socket)
}

/// Connects to an abstract name, and refuses a listener of another user.
pub fn connect_to(name: &str) -> Result<OwnedFd> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(|e| io("create a socket", e))?;
    if let Err(error) = connect(&socket, &address(name)?) {
        bail!(NotFound, "no session listens at {name:?}: {error}");
    }
    check_peer(&socket)?;
    Ok(socket)
}

/// Takes one waiting connection and its peer's process id, refusing other users.
pub fn accept_from(listener: impl AsFd) -> Result<(OwnedFd, u32)> {
    let socket = accept_with(listener, SocketFlags::CLOEXEC).map_err(|e| io("accept a connection", e))?;
    let pid = check_peer(&socket)?;
    Ok((socket, pid))
}

/// Process id of the other end, as the kernel recorded it when the connection was made.
pub fn peer_pid(socket: impl AsFd) -> Result<u32> {
    check_peer(socket)
}

fn check_peer(socket: impl AsFd) -> Result<u32> {
    let peer = socket_peercred(socket).map_err(|e| io("identify the peer", e))?;
    let own = rustix::process::geteuid();
    if peer.uid != own {
        bail!(
            PermissionDenied,
            "the peer runs as user {}, this session belongs to user {}",
            peer.uid.as_raw(),
            own.as_raw()
        );
    }
    Ok(peer.pid.as_raw_nonzero().get().unsigned_abs())
}

fn address(name: &str) -> Result<SocketAddrUnix> {
    SocketAddrUnix::new_abstract_name(name.as_bytes()).map_err(|_| {
        Error::new(
            ErrorKind::InvalidArgument,
            format!("a session address has at most 107 bytes, got {}", name.len()),
        )
    })
}

/// Ends a connection for both sides, also for copies of the descriptor in other processes.
pub fn hang_up(socket: impl AsFd) {
    // Already gone is what the caller wants.
    let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Both);
}

/// Sends one packet with up to four descriptors.
pub fn send(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        bail!(Internal, "at most four descriptors travel in one packet");
    }
    loop {
        match sendmsg(&socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(io("send to a peer", error)),
        }
    }
}

/// Receives one packet and its descriptors; `None` when the peer has closed.
pub fn receive(socket: impl AsFd) -> Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
    let mut bytes = vec![0; MAX_PACKET];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = loop {
        match recvmsg(
            &socket,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        ) {
            Ok(message) => break message,
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::CONNRESET) => return Ok(None),
            Err(error) => return Err(io("receive from a peer", error)),
        }
    };
    let fds = control
        .drain()
        .filter_map(|m| {
            if let RecvAncillaryMessage::ScmRights(fds) = m {
                Some(fds)
            } else {
                None
            }
        })
        .flatten()
        .collect();
    if message.bytes == 0 {
        return Ok(None);
    }
    bytes.truncate(message.bytes);
    Ok(Some((bytes, fds)))
}

/// Receives one packet without descriptors from a peer that has a second to send it: a stranger must not stall the head.
pub fn receive_soon(socket: &OwnedFd) -> Result<Vec<u8>> {
    match receive_within(socket, 1)? {
        Some((bytes, _)) => Ok(bytes),
        None => bail!(Io, "the peer closed its connection"),
    }
}

/// Receives one packet and its descriptors from a peer that has so many seconds to send it; `None` when it has closed.
pub fn receive_within(socket: &OwnedFd, seconds: u32) -> Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
    let mut fds = [PollFd::new(socket, PollFlags::IN)];
    let limit = Timespec {
        tv_sec: i64::from(seconds),
        tv_nsec: 0,
    };
    loop {
        match poll(&mut fds, Some(&limit)) {
            Ok(n) if n > 0 => return receive(socket),
            Err(rustix::io::Errno::INTR) => {}
            _ => bail!(Timeout, "the peer sent nothing for {seconds} s"),
        }
    }
}
