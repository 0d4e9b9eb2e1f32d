//! Signed requests, AWS's and S3's, in header and query, and bodies that come in signed pieces.
#![no_main]

use aws::sigv4::{self, Payload, SignedRequest};
use libfuzzer_sys::fuzz_target;
use model::Timestamp;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

fuzz_target!(|data: &[u8]| {
    for trailer in [false, true] {
        if let Ok((whole, _)) = sigv4::decode_chunks(data, None, trailer) {
            assert!(whole.len() <= data.len());
        }
    }
    let Some(request) = fuzz::request(data) else { return };
    let fuzz::Request { method, path, query, headers, body } = request;
    let secret = |_: &str| Some(SECRET.to_owned());
    // When the vectors were signed.
    for now in [1_440_938_160_000_000, 1_369_353_600_000_000].map(Timestamp) {
        let signed = SignedRequest { method: &method, path: &path, query: &query, headers: &headers, body: &body };
        let valid =
            ["service", "lambda"].into_iter().any(|service| sigv4::verify(&signed, service, secret, now).is_ok());
        if let Ok(mut s3) = sigv4::verify_s3(&signed, secret, now)
            && let Payload::Chunks { signed, trailer } = s3.payload
        {
            let _ = sigv4::decode_chunks(&body, signed.then_some(&mut s3.chain), trailer);
        }
        if valid {
            assert!(sigv4::is_signed(&headers, &query) && sigv4::claimed(&headers, &query).is_some());
            let longer = [&body[..], b"x"].concat();
            let other = SignedRequest { body: &longer, ..signed };
            assert!(
                ["service", "lambda"].into_iter().all(|service| sigv4::verify(&other, service, secret, now).is_err())
            );
        }
    }
});
