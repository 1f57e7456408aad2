//! A C++ class is an actor of a Rust session: state, tensors without a copy, exceptions as errors, and its end.

use std::time::Duration;

use park_core::{Config, DType, ErrorKind, ObjectRef, Result, Session, TensorSpec, View};
use park_tests::cxx::{Flag, make_accumulator};

const LONG: Option<Duration> = Some(Duration::from_secs(30));

fn doubles(session: &Session, values: &[f64]) -> Result<ObjectRef> {
    let spec = TensorSpec::contiguous(DType::new(2, 64)?, &[values.len() as u64], View::Numpy)?;
    let mut object = session.store().create_tensor(&spec, &mut park_core::store::never)?;
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    object.write(object.len() - spec.nbytes(), &bytes)?;
    object.seal()
}

#[test]
fn a_cpp_class_is_an_actor() {
    let session = Session::open(&Config::default().capacity(4 << 20).max_objects(1024)).unwrap();
    // Leaked, since C++ holds a plain reference to it until the actor's thread has ended.
    let dropped: &'static Flag = Box::leak(Box::default());
    let pool = session.pool().unwrap();
    let actor = park_c::cxx::spawn(pool, "accumulator", make_accumulator(dropped)).unwrap();

    for _ in 0..10 {
        actor
            .call("add", &[doubles(&session, &[1.0, 2.0, 0.5]).unwrap()], 0)
            .unwrap();
    }
    let total = actor.call("total", &[], 1).unwrap().remove(0);
    let view = session.store().get(&total, LONG).unwrap();
    let (spec, elements) = view.tensor().unwrap();
    assert_eq!(
        (spec.shape.as_slice(), spec.dtype, spec.view),
        (&[3][..], DType { code: 2, bits: 64 }, View::Torch)
    );
    let sums: Vec<f64> = elements
        .as_chunks()
        .0
        .iter()
        .map(|bytes| f64::from_le_bytes(*bytes))
        .collect();
    assert_eq!(sums, [10.0, 20.0, 5.0]);

    let argument = session.store().put(&[7; 10_000]).unwrap();
    let address = actor
        .call("address", std::slice::from_ref(&argument), 1)
        .unwrap()
        .remove(0);
    let here = session.store().get(&argument, LONG).unwrap().bytes().as_ptr().addr();
    assert_eq!(
        session.store().get(&address, LONG).unwrap().bytes(),
        here.to_le_bytes(),
        "C++ saw a copy"
    );

    for (method, args, text) in [
        ("sub", vec![], "no method sub"),
        ("throw int", vec![], "not a std::exception"),
        (
            "add",
            vec![doubles(&session, &[1.0]).unwrap()],
            "expected 3 values, got 1",
        ),
        ("add", vec![argument.clone()], "not a tensor"),
        ("add", vec![], "has 0 arguments"),
        ("misuse", vec![], "asked for number 99"),
        (
            "add",
            vec![doubles(&session, &[0.0; 3]).unwrap()],
            "ended without writing return 0",
        ),
    ] {
        let failed = actor.call(method, &args, 1).unwrap().remove(0);
        let error = session.store().get(&failed, LONG).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TaskFailed, "{method}: {error}");
        assert!(error.message().contains(text), "{method}: {error}");
    }
    // None of it was the end.
    assert!(
        session
            .store()
            .get(&actor.call("total", &[], 1).unwrap()[0], LONG)
            .is_ok()
    );
    assert!(!dropped.is_raised());
    drop(actor);
    while !dropped.is_raised() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_null_pointer_is_refused() {
    let session = Session::open(&Config::default().capacity(4 << 20).max_objects(1024)).unwrap();
    let refused = park_c::cxx::spawn(session.pool().unwrap(), "nothing", cxx::UniquePtr::null());
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidArgument);
}
