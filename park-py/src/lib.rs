//! `park._park`: the native half of the Python package.
//!
//! Everything on a hot path or touching shared memory is here; decorators, option checks, texts and framework interop are Python
//! (python/park/). One way leads from Python into blocking calls: `gate`.
//!
//! | file | what |
//! |---|---|
//! | `gate` | the process's session, waiting with signals, errors to exceptions |
//! | `object` | `ObjectRef`, put, get, wait |
//! | `buffer` | `Buffer`: sealed bytes as a Python buffer that pins them |
//! | `channel` | writers, readers and messages of channels |
//! | `encode`, `decode` | Python values to objects and back |
//! | `task`, `actor` | submitting work |
//! | `worker` | the loop of a worker process |
//! | `session` | opening, attaching, closing, statistics |

use pyo3::prelude::*;

mod actor;
mod buffer;
mod channel;
mod decode;
mod encode;
mod gate;
mod object;
mod session;
mod task;
mod worker;

/// The native half of `park`. Import `park` instead.
#[pymodule(gil_used = true)]
mod _park {
    #[pymodule_export]
    use crate::actor::{call_actor, create_actor, find_actor, kill_actor};
    #[pymodule_export]
    use crate::buffer::Buffer;
    #[pymodule_export]
    use crate::channel::{ChannelMessage, ChannelReader, ChannelWriter, create_channel};
    #[pymodule_export]
    use crate::object::{ObjectRef, export, fetch, get, put, wait};
    #[pymodule_export]
    use crate::session::{
        attach, head_stats, init, is_initialized, role, session_address, session_id, shutdown, store_stats,
    };
    #[pymodule_export]
    use crate::task::{Resources, submit_task};
    #[pymodule_export]
    use crate::worker::{worker_main, worker_participant};
}
