use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn left(from: i64, until: i64, now: i64) -> Result<u64, String> {
    let began = Instant::now();
    let fresh = fresh_until(at(from), at(until), at(now))?;
    Ok((fresh - began + Duration::from_millis(100)).as_secs())
}

#[test]
fn a_certificate_is_left_before_it_ends() {
    assert_eq!(left(0, 600, 0), Ok(540));
    assert_eq!(left(0, 600, 500), Ok(40));
    assert_eq!(left(0, 100, 0), Ok(80));
    // Whatever the clock says, it does not last longer than it was made for.
    assert_eq!(left(30, 630, 0), Ok(540));
    assert_eq!(left(0, 600, 599), Ok(0));
}

#[test]
fn a_certificate_is_of_now() {
    let ended = left(0, 600, 600).unwrap_err();
    assert!(
        ended.contains("has ended") && ended.contains("1970-01-01T00:10:00Z"),
        "{ended}"
    );
    assert!(left(61, 661, 0).unwrap_err().contains("has not begun"));
    assert!(left(60, 660, 0).is_ok());
}

#[test]
fn pem_has_lines_that_end_as_cosigns_do() {
    let text = pem("CERTIFICATE", &[7; 100]).unwrap();
    assert!(text.starts_with("-----BEGIN CERTIFICATE-----\nBwcH") && text.ends_with("-----\n"));
    assert!(
        !text.contains('\r') && text.lines().all(|line| line.len() <= 64),
        "{text}"
    );
}

fn answered(body: &str) -> String {
    let key = KeyPair::generate_ecdsa_p256().unwrap();
    read(body.as_bytes(), key, Timestamp::now()).unwrap_err()
}

fn chain(certificates: &[&str]) -> String {
    serde_json::json!({"signedCertificateEmbeddedSct":{"chain":{"certificates":certificates}}})
        .to_string()
}

#[test]
fn what_is_no_certificate_for_the_key_is_refused_by_name() {
    let detached = r#"{"signedCertificateDetachedSct":{"chain":{"certificates":["a"]},"signedCertificateTimestamp":"b"}}"#;
    assert!(answered(detached).contains("detached SCT"));
    assert!(answered("{}").contains("not one certificate"));
    assert!(answered("<html>").contains("no answer that is known"));
    assert!(answered(&chain(&[])).contains("empty"));
    assert!(answered(&chain(&["x"; 11])).contains("more than 10"));
    assert!(answered(&chain(&["hello"])).contains("PEM"));
    let other = rcgen::generate_simple_self_signed(["x.example".to_owned()]).unwrap();
    let said = answered(&chain(&[&other.cert.pem()]));
    assert!(said.contains("for another key"), "{said}");
}
