//! The parser on lines as strace writes them.

use super::{Call, parse};

fn call(name: &str, begun: usize, ended: usize, result: Option<i64>) -> Call {
    let (name, target) = (name.to_owned(), String::new());
    Call { name, descriptor: 4, target, data: Vec::new(), offset: None, result, begun, ended }
}

#[test]
fn calls_in_one_line() {
    let text = "27142 pwrite64(12<\\x2f\\x74\\x6d\\x70>, \"\\x00\\x7b\\xff\", 3, 131872) = 3\n\
                27142 fsync(4) = 0\n\
                27135 sendto(4, \"\\x48\\x54\", 2, MSG_NOSIGNAL, NULL, 0) = 2\n\
                27135 --- SIGTERM {si_signo=SIGTERM, si_code=SI_USER, si_pid=1, si_uid=0} ---\n\
                27135 writev(4, [{iov_base=\"\\x48\", iov_len=1}, {iov_base=\"\\x54\", iov_len=1}], 2) = -1 EAGAIN (Resource temporarily unavailable)\n\
                27142 +++ exited with 0 +++\n";
    let written =
        Call { descriptor: 12, target: "/tmp".to_owned(), data: vec![0, b'{', 255], ..call("pwrite64", 0, 0, Some(3)) };
    let expected = [
        Call { offset: Some(131_872), ..written },
        call("fsync", 1, 1, Some(0)),
        Call { data: b"HT".to_vec(), ..call("sendto", 2, 2, Some(2)) },
        Call { data: b"HT".to_vec(), ..call("writev", 4, 4, Some(-1)) },
    ];
    assert_eq!(parse(text).unwrap(), expected);
}

#[test]
fn calls_that_others_interrupt() {
    let text = "1 fsync(4 <unfinished ...>\n\
                2 pwrite64(4, \"\\x41\", 1, 32 <unfinished ...>\n\
                1 <... fsync resumed>)                   = 0\n\
                2 <... pwrite64 resumed>)                = 1\n\
                1 write(4, \"\\x42\", 1 <unfinished ...>\n";
    let expected = [
        call("fsync", 0, 2, Some(0)),
        Call { data: b"A".to_vec(), offset: Some(32), ..call("pwrite64", 1, 3, Some(1)) },
        Call { data: b"B".to_vec(), ..call("write", 4, usize::MAX, None) },
    ];
    assert_eq!(parse(text).unwrap(), expected);
}

#[test]
fn what_cannot_be_relied_on_is_an_error() {
    for (text, reason) in [
        ("1 write(4, \"\\x41\"..., 9000) = 9000", "was cut"),
        ("1 write(4, \"\\n\", 1) = 1", "-xx"),
        ("1 <... write resumed>) = 1", "never began"),
        ("1 write(x, \"\\x41\", 1) = 1", "no file descriptor"),
        ("1 pwrite64(4, \"\\x41\", 1, ) = 1", "no offset"),
        ("nothing", "no thread"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.contains(reason), "{error}");
    }
}
