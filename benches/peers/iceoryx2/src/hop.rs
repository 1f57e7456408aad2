//! Handing 64 bytes to another process and back over two services: with both sides polling, and with both sleeping on an event that
//! the sender notifies after it has sent.

use std::time::Instant;

use iceoryx2::node::Node;
use iceoryx2::port::listener::Listener;
use iceoryx2::port::notifier::Notifier;
use iceoryx2::prelude::ipc;

use crate::bytes::stamped;
use crate::child::{Child, answer};
use crate::measure::{Case, Peer, Result};
use crate::port;

const MESSAGE: usize = 64;
/// Round trips a sample; each is two hops.
const TRIPS: u64 = 500;

pub(crate) fn rows(peer: &mut Peer) -> Result<()> {
    peer.row("hop over iceoryx2, polling", || hop("polling"))?;
    peer.row("hop over iceoryx2, event", || hop("event"))
}

/// The end of one direction that sends. Without a notifier the other side polls.
struct Out {
    sender: port::Sender,
    notifier: Option<Notifier<ipc::Service>>,
}

/// The end that receives.
struct In {
    receiver: port::Receiver,
    listener: Option<Listener<ipc::Service>>,
}

impl Out {
    fn new(node: &Node<ipc::Service>, way: &str, name: &str) -> Result<Self> {
        Ok(Self {
            sender: port::sender(&port::service(node, name)?, MESSAGE)?,
            notifier: match way {
                "event" => Some(event(node, name)?.notifier_builder().create()?),
                _ => None,
            },
        })
    }

    fn send(&self, bytes: &[u8]) -> Result<()> {
        port::send(&self.sender, bytes)?;
        if let Some(notifier) = &self.notifier {
            notifier.notify()?;
        }
        Ok(())
    }
}

impl In {
    fn new(node: &Node<ipc::Service>, way: &str, name: &str) -> Result<Self> {
        Ok(Self {
            receiver: port::receiver(&port::service(node, name)?)?,
            listener: match way {
                "event" => Some(event(node, name)?.listener_builder().create()?),
                _ => None,
            },
        })
    }

    fn receive(&self) -> Result<port::Bytes> {
        loop {
            if let Some(sample) = self.receiver.receive()? {
                return Ok(sample);
            }
            match &self.listener {
                Some(listener) => {
                    listener.blocking_wait(|_| ())?;
                }
                None => std::hint::spin_loop(),
            }
        }
    }
}

type Events = iceoryx2::service::port_factory::event::PortFactory<ipc::Service>;

fn event(node: &Node<ipc::Service>, name: &str) -> Result<Events> {
    Ok(node.service_builder(&name.try_into()?).event().open_or_create()?)
}

fn hop(way: &str) -> Result<Case<'_>> {
    let node = port::node()?;
    let (there, back) = (port::fresh_name(), port::fresh_name());
    let (out, into) = (Out::new(&node, way, &there)?, In::new(&node, way, &back)?);
    let mut child = Child::start(&["hop", way, &there, &back])?;
    Ok(Case::reported(2.0 * TRIPS as f64, move || {
        let messages: Vec<Vec<u8>> = (0..TRIPS).map(|number| stamped(MESSAGE, number)).collect();
        let mut replies = vec![vec![0; MESSAGE]; messages.len()];
        child.tell("go")?;
        let begin = Instant::now();
        for (message, reply) in messages.iter().zip(&mut replies) {
            out.send(message)?;
            reply.copy_from_slice(into.receive()?.payload());
        }
        let seconds = begin.elapsed().as_secs_f64();
        Ok((child.hear()? == "done" && replies == messages).then_some(seconds))
    }))
}

/// Told to go, it answers each message with its own bytes.
pub(crate) fn child(way: &str, there: &str, back: &str) -> Result<()> {
    let node = port::node()?;
    let (into, out) = (In::new(&node, way, there)?, Out::new(&node, way, back)?);
    answer(|_| {
        for _ in 0..TRIPS {
            out.send(into.receive()?.payload())?;
        }
        Ok("done".to_owned())
    })
}
