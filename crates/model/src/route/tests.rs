//! Routes as they are written: what is read, what is refused, and which collide.

use super::*;

fn read(text: &str) -> Result<HttpRoute, serde_json::Error> {
    serde_json::from_str(text)
}

#[test]
fn reads_what_it_writes() {
    let text = r#"{"route":"POST /hooks/{name}","cors":{"allow_origins":["https://a.example"],"max_age":"1m"},
        "auth":{"signature":"github","secret":"hook-key"},"rate":"10/s","burst":20,"max_body":"64KB","timeout":"5s"}"#;
    let route = read(text).unwrap();
    let written = serde_json::to_value(&route).unwrap();
    assert_eq!(written, serde_json::from_str::<serde_json::Value>(text).unwrap());
    assert_eq!(serde_json::to_string(&read(r#"{"route":"/a"}"#).unwrap()).unwrap(), r#"{"route":"ANY /a"}"#);
    assert_eq!(validate(&[route]), Ok(()));
}

#[test]
fn one_line_says_the_same() {
    let line: HttpRoute =
        "POST /hooks/{name} auth=stripe:hook-key rate=10/s burst=20 max-body=64KB timeout=5s cors=https://a.b,*"
            .parse()
            .unwrap();
    assert_eq!(line.auth.secret().unwrap().as_str(), "hook-key");
    assert_eq!((line.burst(), line.max_body.unwrap().bytes()), (20, 65_536));
    assert_eq!(line.cors.unwrap().allow_origins, ["https://a.b", "*"]);
    assert_eq!("/a".parse::<HttpRoute>().unwrap(), HttpRoute::new("ANY /a".parse().unwrap()));
    assert_eq!("GET /a=b".parse::<HttpRoute>().unwrap().route.path(), "/a=b");
    for (wrong, said) in [
        ("GET /a colour=red", "\"colour\" is not known: expected one of auth="),
        ("GET /a auth=prayer", "auth \"prayer\" is not known: expected none, api-key"),
        ("GET /a rate=10", "rate: \"10\" is not a rate: expected a number for a second"),
        ("GET /a burst=3", "there is no rate"),
        ("GET /a timeout=1h", "expected 1ms to 15m"),
    ] {
        let error = wrong.parse::<HttpRoute>().unwrap_err();
        assert!(error.contains(said), "{wrong}: {error}");
    }
}

#[test]
fn what_is_wrong_is_named() {
    let said = |text: &str| match read(text) {
        Err(error) => error.to_string(),
        Ok(route) => validate(&[route]).unwrap_err(),
    };
    for (text, expected) in [
        (r#"{"route":"/a","rat":"10/s"}"#, "unknown field `rat`"),
        (r#"{"route":"/a","auth":"key"}"#, "auth \"key\" is not known"),
        (r#"{"route":"/a","auth":{"signature":"github"}}"#, "expected \"none\", \"api-key\""),
        (r#"{"route":"/a","cors":{}}"#, "allow_origins is empty"),
        (r#"{"route":"/a","cors":{"allow_origins":["a.b"]}}"#, "origin \"a.b\" is none"),
        (r#"{"route":"/a","cors":{"allow_origins":["*"],"allow_credentials":true}}"#, "name the origins instead"),
        (r#"{"route":"/a","cors":{"allow_origins":["*"],"allow_headers":["a b"]}}"#, "header \"a b\" is none"),
        (r#"{"route":"/a","cors":{"allow_origins":["*"],"max_age":"2d"}}"#, "max_age is out of range"),
        (r#"{"route":"/a","burst":2}"#, "there is no rate"),
        (r#"{"route":"/a","auth":{"signature":"github","secret":"k"},"max_body":"7MB"}"#, "over 6MB"),
    ] {
        let said = said(text);
        assert!(said.contains(expected), "{text}: {said}");
    }
    let twice: Vec<_> = ["GET /a/{b}", "GET /a/{c}"].iter().map(|text| HttpRoute::new(text.parse().unwrap())).collect();
    assert!(validate(&twice).unwrap_err().contains("is there twice, also as \"GET /a/{b}\""));
    assert!(validate(&vec![twice[0].clone(); 65]).unwrap_err().contains("at most 64"));
}

#[test]
fn rates_and_sizes_are_exact() {
    assert_eq!("10/s".parse::<Rate>().unwrap().interval(), Duration::from_millis(100));
    assert_eq!("2/m".parse::<Rate>().unwrap().interval(), Duration::from_secs(30));
    for wrong in ["", "10", "0/s", "10/d", "1.5/s", "9999999/s"] {
        assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
    }
    for (text, bytes) in [("0", 0), ("1000", 1000), ("64KB", 65_536), ("2 MB", 2 << 20)] {
        assert_eq!(text.parse::<BodyLimit>().unwrap().bytes(), bytes);
    }
    assert_eq!("1024KB".parse::<BodyLimit>().unwrap().to_string(), "1MB");
    assert!("99999999GB".parse::<BodyLimit>().is_err());
}
