//! One publisher and one subscriber of bytes, with the smallest queues that do.

use std::sync::atomic::{AtomicU32, Ordering};

use iceoryx2::node::{Node, NodeBuilder};
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::{AllocationStrategy, ipc};
use iceoryx2::sample::Sample;
use iceoryx2::service::port_factory::publish_subscribe::PortFactory;

use crate::measure::Result;

pub(crate) type Bytes = Sample<ipc::Service, [u8], ()>;
pub(crate) type Sender = Publisher<ipc::Service, [u8], ()>;
pub(crate) type Receiver = Subscriber<ipc::Service, [u8], ()>;

/// A name that no other process and no earlier row uses.
pub(crate) fn fresh_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!(
        "park-bench/{}/{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

pub(crate) fn node() -> Result<Node<ipc::Service>> {
    Ok(NodeBuilder::new().create::<ipc::Service>()?)
}

/// The service of this name, whoever comes first creates it.
pub(crate) fn service(node: &Node<ipc::Service>, name: &str) -> Result<PortFactory<ipc::Service, [u8], ()>> {
    Ok(node
        .service_builder(&name.try_into()?)
        .publish_subscribe::<[u8]>()
        .max_publishers(1)
        .max_subscribers(1)
        .subscriber_max_buffer_size(1)
        .subscriber_max_borrowed_samples(1)
        .history_size(0)
        .open_or_create()?)
}

pub(crate) fn sender(service: &PortFactory<ipc::Service, [u8], ()>, len: usize) -> Result<Sender> {
    Ok(service
        .publisher_builder()
        .initial_max_slice_len(len)
        .allocation_strategy(AllocationStrategy::Static)
        .max_loaned_samples(1)
        .create()?)
}

pub(crate) fn receiver(service: &PortFactory<ipc::Service, [u8], ()>) -> Result<Receiver> {
    Ok(service.subscriber_builder().create()?)
}

/// Lends a sample, writes it and sends it to the one subscriber.
pub(crate) fn send(sender: &Sender, bytes: &[u8]) -> Result<()> {
    let sample = sender.loan_slice_uninit(bytes.len())?.write_from_slice(bytes);
    match sample.send()? {
        1 => Ok(()),
        reached => Err(format!("a sample reached {reached} subscribers instead of one").into()),
    }
}

/// The sample that was sent.
pub(crate) fn receive(receiver: &Receiver) -> Result<Bytes> {
    receiver.receive()?.ok_or_else(|| "nothing was there to receive".into())
}
