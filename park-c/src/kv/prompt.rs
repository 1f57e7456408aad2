//! `park_kv_prompt`: what is asked of a model.

use std::ptr;

use park_core::Result;
use park_core::kv::{Media, OnEpoch};

use crate::from_c::{FromC, Sized, invalid};

/// When the weights change, the request goes on over the keys and values that the old ones made.
pub const PARK_KV_FINISH: u32 = 0;
/// When the weights change, the request ends.
pub const PARK_KV_DROP: u32 = 1;
/// When the weights change, the request starts again, with what was generated proposed to the new ones as drafts.
pub const PARK_KV_DRAFT: u32 = 2;

/// Tokens that stand for something else: an image, a sound, embeddings.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct park_kv_media {
    /// The position of its first token.
    pub start: u32,
    /// How many tokens it takes.
    pub length: u32,
    /// A digest of its content.
    pub digest: [u8; 32],
}

/// A prompt: its tokens, and what their keys and values depend on besides. Set struct_size to sizeof(park_kv_prompt).
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct park_kv_prompt {
    /// sizeof(park_kv_prompt).
    pub struct_size: usize,
    /// The tokens, at least one.
    pub tokens: *const u32,
    /// How many there are.
    pub num_tokens: usize,
    /// A secret that divides the tenant's cache further. May be NULL if `salt_len` is 0.
    pub salt: *const u8,
    /// Bytes of `salt`.
    pub salt_len: usize,
    /// The adapter that the model runs with, and its version. May be NULL if `adapter_len` is 0.
    pub adapter: *const u8,
    /// Bytes of `adapter`.
    pub adapter_len: usize,
    /// Which tokens stand for something else, ordered by start. May be NULL if there are none.
    pub media: *const park_kv_media,
    /// How many of these there are.
    pub num_media: usize,
    /// Whose prompt it is: 0, or what an ..._add_tenant() gave. Tenants share no blocks.
    pub tenant: u32,
    /// For a scheduler: at most so many tokens are generated.
    pub max_new: u32,
    /// For a scheduler with PARK_KV_PRIORITY: lower is sooner.
    pub priority: i32,
    /// For a scheduler: PARK_KV_FINISH, PARK_KV_DROP or PARK_KV_DRAFT.
    pub on_epoch: u32,
}

// SAFETY: `repr(C)`, `struct_size` first, integers and raw pointers only.
unsafe impl Sized for park_kv_prompt {
    fn defaults() -> Self {
        Self {
            struct_size: size_of::<Self>(),
            tokens: ptr::null(),
            num_tokens: 0,
            salt: ptr::null(),
            salt_len: 0,
            adapter: ptr::null(),
            adapter_len: 0,
            media: ptr::null(),
            num_media: 0,
            tenant: 0,
            max_new: 0,
            priority: 0,
            on_epoch: PARK_KV_FINISH,
        }
    }
}

/// A prompt as the core takes it.
pub(super) struct Prompt<'a> {
    pub(super) tokens: &'a [u32],
    pub(super) salt: &'a [u8],
    pub(super) adapter: &'a [u8],
    pub(super) media: Vec<Media>,
    pub(super) tenant: park_core::kv::TenantId,
    pub(super) max_new: u32,
    pub(super) priority: i32,
    pub(super) on_epoch: OnEpoch,
}

pub(super) fn read(from_c: &FromC, prompt: *const park_kv_prompt) -> Result<Prompt<'_>> {
    let prompt = from_c.sized(prompt, "prompt")?;
    let media = from_c.slice(prompt.media, prompt.num_media, "prompt->media")?;
    let media = media.iter().map(|item| Media {
        start: item.start as usize,
        length: item.length as usize,
        digest: item.digest,
    });
    Ok(Prompt {
        tokens: from_c.slice(prompt.tokens, prompt.num_tokens, "prompt->tokens")?,
        salt: from_c.slice(prompt.salt, prompt.salt_len, "prompt->salt")?,
        adapter: from_c.slice(prompt.adapter, prompt.adapter_len, "prompt->adapter")?,
        media: media.collect(),
        tenant: super::tenant(prompt.tenant)?,
        max_new: prompt.max_new,
        priority: prompt.priority,
        on_epoch: match prompt.on_epoch {
            PARK_KV_FINISH => OnEpoch::Finish,
            PARK_KV_DROP => OnEpoch::Drop,
            PARK_KV_DRAFT => OnEpoch::Draft,
            other => return Err(invalid(format!("`prompt->on_epoch` is none of 0, 1 and 2 but {other}"))),
        },
    })
}
