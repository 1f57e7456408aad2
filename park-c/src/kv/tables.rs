//! `park_kv_tables`: arrays of the caller's that steps write their block tables to.

use std::ops::Range;
use std::ptr;

use park_core::Result;
use park_core::kv::{Rows, Tables};

use crate::from_c::{FromC, Sized, invalid};

/// Arrays that a step writes to, for `n` sequences with `t` tokens to compute, whose keys and values lie in `p` blocks. Each may be NULL,
/// and may be longer than it has to be: the rest is left as it is. They must not overlap. Set struct_size to sizeof(park_kv_tables) and
/// what is not used to 0.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct park_kv_tables {
    /// sizeof(park_kv_tables).
    pub struct_size: usize,
    /// The group of layers whose blocks are written.
    pub group: usize,
    /// `[n][block_table_width]`: the blocks of each sequence, padded with block 0.
    pub block_table: *mut i32,
    /// Rows that `block_table` has room for.
    pub block_table_rows: usize,
    /// Blocks of a row.
    pub block_table_width: usize,
    /// `[t]`: the slot of each token, block * block_size + offset.
    pub slot_mapping: *mut i64,
    /// Numbers that `slot_mapping` has room for; so for the others.
    pub slot_mapping_len: usize,
    /// `[n + 1]`: where the pages of each sequence begin in `indices`.
    pub indptr: *mut i32,
    /// See above.
    pub indptr_len: usize,
    /// `[p]`: the blocks up to the end of what each sequence computes.
    pub indices: *mut i32,
    /// See above.
    pub indices_len: usize,
    /// `[n]`: tokens of each sequence's last page.
    pub last_page_len: *mut i32,
    /// See above.
    pub last_page_len_len: usize,
    /// `[n + 1]`: sums of the tokens to compute.
    pub cu_seqlens_q: *mut i32,
    /// See above.
    pub cu_seqlens_q_len: usize,
    /// `[n + 1]`: sums of the tokens that are attended to.
    pub cu_seqlens_k: *mut i32,
    /// See above.
    pub cu_seqlens_k_len: usize,
    /// `[n]`: tokens that each sequence attends to.
    pub seq_lens: *mut i32,
    /// See above.
    pub seq_lens_len: usize,
}

// SAFETY: `repr(C)`, `struct_size` first, integers and raw pointers only.
unsafe impl Sized for park_kv_tables {
    fn defaults() -> Self {
        Self {
            struct_size: size_of::<Self>(),
            group: 0,
            block_table: ptr::null_mut(),
            block_table_rows: 0,
            block_table_width: 0,
            slot_mapping: ptr::null_mut(),
            slot_mapping_len: 0,
            indptr: ptr::null_mut(),
            indptr_len: 0,
            indices: ptr::null_mut(),
            indices_len: 0,
            last_page_len: ptr::null_mut(),
            last_page_len_len: 0,
            cu_seqlens_q: ptr::null_mut(),
            cu_seqlens_q_len: 0,
            cu_seqlens_k: ptr::null_mut(),
            cu_seqlens_k_len: 0,
            seq_lens: ptr::null_mut(),
            seq_lens_len: 0,
        }
    }
}

/// The arrays, each checked to be one and to lie apart from those before it.
struct Apart<'a> {
    from_c: &'a FromC,
    taken: Vec<(Range<usize>, &'static str)>,
}

impl<'a> Apart<'a> {
    fn array<T>(&mut self, place: *mut T, len: usize, name: &'static str) -> Result<Option<&'a mut [T]>> {
        if place.is_null() {
            return Ok(None);
        }
        self.from_c.slice(place.cast_const(), len, name)?;
        let range = place.addr()..place.addr() + len * size_of::<T>();
        let overlaps = |(other, _): &&(Range<usize>, _)| range.start < other.end && other.start < range.end;
        if let Some((_, other)) = self.taken.iter().find(overlaps) {
            return Err(invalid(format!("`{other}` and `{name}` share memory")));
        }
        if len > 0 {
            self.taken.push((range, name));
        }
        // SAFETY: apart from every other array of the call (checked above; what else the call reads was copied).
        unsafe { self.from_c.slice_mut(place, len, name) }.map(Some)
    }
}

/// The caller's arrays as the core takes them; none for NULL. What the call reads besides must have been copied.
pub(super) fn read(from_c: &FromC, tables: *const park_kv_tables) -> Result<Tables<'_>> {
    if tables.is_null() {
        return Ok(Tables::default());
    }
    let tables = from_c.sized(tables, "tables")?;
    let group = u8::try_from(tables.group).map_err(|_| invalid(format!("there is no group {}", tables.group)))?;
    let (rows, width) = (tables.block_table_rows, tables.block_table_width);
    let Some(blocks) = rows.checked_mul(width) else {
        return Err(invalid(format!(
            "`block_table` cannot have {rows} rows of {width} blocks"
        )));
    };
    let mut apart = Apart {
        from_c,
        taken: Vec::with_capacity(8),
    };
    Ok(Tables {
        group,
        block_table: apart
            .array(tables.block_table, blocks, "block_table")?
            .map(|blocks| Rows {
                width,
                blocks,
                kept: &mut [],
            }),
        slot_mapping: apart.array(tables.slot_mapping, tables.slot_mapping_len, "slot_mapping")?,
        indptr: apart.array(tables.indptr, tables.indptr_len, "indptr")?,
        indices: apart.array(tables.indices, tables.indices_len, "indices")?,
        last_page_len: apart.array(tables.last_page_len, tables.last_page_len_len, "last_page_len")?,
        cu_seqlens_q: apart.array(tables.cu_seqlens_q, tables.cu_seqlens_q_len, "cu_seqlens_q")?,
        cu_seqlens_k: apart.array(tables.cu_seqlens_k, tables.cu_seqlens_k_len, "cu_seqlens_k")?,
        seq_lens: apart.array(tables.seq_lens, tables.seq_lens_len, "seq_lens")?,
    })
}
