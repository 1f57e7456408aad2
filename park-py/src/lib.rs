//! `park._park`: the native half of the Python package.
//!
//! Everything on a hot path or touching shared memory is here; decorators, option checks, texts and framework interop are Python
//! (python/park/). One way leads from Python into blocking calls: `gate`.
//!
//! | file | what |
//! |---|---|
//! | `member` | whom a thread works for: its process, or one worker thread of it |
//! | `gate` | the process's session, waiting with signals, errors to exceptions |
//! | `object` | `ObjectRef`, put, get, wait |
//! | `buffer` | `Buffer`: sealed bytes as a Python buffer that pins them |
//! | `channel` | writers, readers and messages of channels |
//! | `encode`, `decode` | Python values to objects and back |
//! | `described`, `strided` | tensors of any library and layout, on their way in |
//! | `tensor_view`, `dlpack` | tensors of no library, on their way out; DLPack both ways |
//! | `mapped` | tensors that stay in their file |
//! | `task`, `actor` | submitting work |
//! | `watch` | references that coroutines and futures wait for |
//! | `placement` | nodes, placement groups, where work may run |
//! | `work` | what this process does now, and who else does what |
//! | `cancel` | cancelling, and being cancelled |
//! | `stream` | generators: making items and taking them |
//! | `method` | which function a call means |
//! | `kv/` | the paged KV cache and its scheduler, `park.kv` |
//! | `worker/` | what a worker process does |
//! | `session` | opening, attaching, closing, statistics |

use pyo3::prelude::*;

mod actor;
mod buffer;
mod cancel;
mod channel;
mod decode;
mod described;
mod dlpack;
mod encode;
mod gate;
mod kv;
mod mapped;
mod member;
mod method;
mod object;
mod pairs;
mod placement;
mod session;
mod stream;
mod strided;
mod task;
mod tensor_view;
mod title;
mod watch;
mod weak_actor;
mod work;
mod worker;

/// The native half of `park`. Import `park` instead.
#[pymodule(gil_used = true)]
mod _park {
    #[pymodule_export]
    use crate::actor::{CallOptions, PendingCalls, call_actor, create_actor, find_actor, kill_actor};
    #[pymodule_export]
    use crate::buffer::Buffer;
    #[pymodule_export]
    use crate::cancel::{cancel, cancel_is_due, is_cancelled};
    #[pymodule_export]
    use crate::channel::{ChannelMessage, ChannelReader, ChannelWriter, create_channel};
    #[pymodule_export]
    use crate::described::{dtypes, put_described, put_dlpack, stored_strides};
    #[pymodule_export]
    use crate::encode::{put_arrow, put_state};
    #[pymodule_export]
    use crate::gate::runs_event_loop;
    #[pymodule_export]
    use crate::kv::{
        Cache, Changes, KvChunks, KvDevice, KvMemory, KvTicket, NamedBlock, NamedPool, OffloadTable, Plan, RadixTree,
        Scheduler, Tables,
    };
    #[pymodule_export]
    use crate::mapped::{MappedFile, map_file};
    #[pymodule_export]
    use crate::member::{Membership, interruption_heard, membership};
    #[pymodule_export]
    use crate::object::{ObjectRef, export, fetch, fetch_view, get, load_ref, pickles_for_session, put, view, wait};
    #[pymodule_export]
    use crate::pairs::{get_pair, pair_keys, put_pair, remove_pair};
    #[pymodule_export]
    use crate::placement::{
        Placement, add_node, await_group, create_group, placement_report, remove_group, remove_node,
    };
    #[pymodule_export]
    use crate::session::{
        attach, audit, head_stats, init, init_threads, is_initialized, memory_report, memory_use, reference_counts,
        role, session_address, session_id, shutdown, store_stats, trim, values,
    };
    #[pymodule_export]
    use crate::stream::{StreamReader, wait_for_item};
    #[pymodule_export]
    use crate::task::{Resources, submit_task};
    #[pymodule_export]
    use crate::tensor_view::TensorView;
    #[pymodule_export]
    use crate::title::title_of_actor;
    #[pymodule_export]
    use crate::watch::{Watch, value_of};
    #[pymodule_export]
    use crate::weak_actor::WeakActor;
    #[pymodule_export]
    use crate::work::{children_of, current_work, describe_session, ended_tasks, open_calls, task_depth, traced_calls};
    #[pymodule_export]
    use crate::worker::{Call, LoopLane, Pool, Vacant, leave_actor, worker_main, worker_participant};

    /// The signal on which a worker process asks `cancel_is_due`.
    #[pymodule_export]
    const CANCEL_SIGNAL: i32 = park_core::sys::process::CANCEL_SIGNAL;
}
