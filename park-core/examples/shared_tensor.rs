//! A Rust process shares tensors with a Python session, without a copy in either direction:
//!
//! ```text
//! shared_tensor SESSION OBJECT
//! ```
//!
//! SESSION is what Python's `park.init().address_info["session"]` says, OBJECT the hex id of a numpy array of float64. The program
//! attaches, sums the array where it lies, makes a torch tensor of float32 with every element doubled, and prints its id and the
//! sum. It then holds the tensor until a line arrives on its standard input: an object lives as long as somebody refers to it, and
//! by then Python does.

use std::io::{self, Write};
use std::time::Duration;

use park_core::store::never;
use park_core::{DType, Error, ErrorKind, Result, Session, TensorSpec, View};

fn main() -> Result<()> {
    let (Some(address), Some(hex)) = (std::env::args().nth(1), std::env::args().nth(2)) else {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            "usage: shared_tensor SESSION OBJECT",
        ));
    };
    let session = Session::attach(&address)?;
    let store = session.store();
    let object = store.get(&store.resolve(hex.parse()?)?, Some(Duration::from_secs(10)))?;
    let (array, elements) = object.tensor()?;
    if array.dtype != DType::new(2, 64)? {
        return Err(Error::new(ErrorKind::WrongFormat, "expected an array of float64"));
    }

    // The array, in the very memory that Python wrote it to; and room for ours, in the store.
    let spec = TensorSpec::strided(DType::new(2, 32)?, &array.shape, &array.strides, View::Torch)?;
    let mut tensor = store.create_tensor(&spec, &mut never)?;
    let mut at = tensor.len() - spec.nbytes();
    let mut sum = 0.0;
    for bytes in elements.as_chunks().0 {
        let value = f64::from_le_bytes(*bytes);
        sum += value;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the example is about sharing, not precision"
        )]
        tensor.write(at, &((2.0 * value) as f32).to_le_bytes())?;
        at += 4;
    }
    let made = tensor.seal()?;
    let mut out = io::stdout();
    writeln!(out, "{} {sum:?}", made.id())?;
    out.flush()?;

    // Ours is the only reference until Python has one of its own, and says so.
    io::stdin().read_line(&mut String::new())?;
    Ok(())
}
