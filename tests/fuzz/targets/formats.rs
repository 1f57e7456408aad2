//! Bytes of objects, and ids as text.

use park_core::store::format::{decode_error, encode_error};
use park_core::{Format, ObjectId, TensorSpec, View};

pub(crate) fn target(data: &[u8]) {
    if let Ok(spec) = TensorSpec::parse(data, View::Numpy) {
        // Every element that shape and strides name lies inside. Without elements strides may be anything.
        if spec.nbytes() != 0 {
            let steps = spec.shape.iter().zip(&spec.strides);
            let last: u64 = steps.map(|(extent, stride)| (extent - 1) * stride).sum();
            assert!((last + 1) * spec.dtype.bytes() <= spec.nbytes());
        }
        assert_eq!(data[..192].len() as u64 + spec.nbytes(), data.len() as u64);
    }
    let error = decode_error(data);
    let again = decode_error(&encode_error(&error));
    assert_eq!(
        (again.kind(), again.message(), again.detail()),
        (error.kind(), error.message(), error.detail())
    );
    let _ = data.first().map(|number| Format::from_number(*number));
    if let Some(id) = data.first_chunk() {
        let id = ObjectId::from_bytes(*id);
        assert_eq!(id.to_string().parse::<ObjectId>().expect("its own text"), id);
    }
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = text.parse::<ObjectId>();
    }
}
