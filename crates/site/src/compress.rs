//! Step 6c: a text compressed for a client that takes it.

use std::io::Write as _;

use tandem_http::policy::coding::is_text;
use tandem_model::Coding;

/// What is smaller gains nothing, in bytes: it fits into one segment anyway.
const SMALLEST: u64 = 256;
/// What is larger is sent as it is, in bytes: the result is kept in memory, and making it takes a processor.
const LARGEST: u64 = 1 << 20;

/// The level of zlib; its own default, the best for its time.
const GZIP_LEVEL: u32 = 6;
/// The quality of Brotli: smaller than gzip in about its time; the next ones take several times as long.
const BROTLI_QUALITY: i32 = 5;
/// The window of Brotli as a power of two, in bytes: all of the largest file.
const BROTLI_WINDOW: i32 = 20;

/// Whether a file of this type and length gets smaller.
pub(crate) fn is_worth_it(kind: &str, size: u64) -> bool {
    (SMALLEST..=LARGEST).contains(&size) && is_text(kind)
}

/// The content in this coding; `None` when it does not get smaller.
pub(crate) fn compressed(content: &[u8], coding: Coding) -> Option<Vec<u8>> {
    let room = Vec::with_capacity(content.len() / 4);
    let done = match coding {
        Coding::Gzip => {
            let level = flate2::Compression::new(GZIP_LEVEL);
            let mut out = flate2::write::GzEncoder::new(room, level);
            out.write_all(content).ok()?;
            out.finish().ok()?
        }
        Coding::Brotli => {
            let params = brotli::enc::BrotliEncoderParams {
                quality: BROTLI_QUALITY,
                lgwin: BROTLI_WINDOW,
                size_hint: content.len(),
                ..Default::default()
            };
            let mut out = room;
            brotli::BrotliCompress(&mut &*content, &mut out, &params).ok()?;
            out
        }
        Coding::Zstd => return None,
    };
    (done.len() < content.len()).then_some(done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn what_is_compressed_is_the_same_again() {
        let text = "All work and no play. ".repeat(1_000);
        let packed = compressed(text.as_bytes(), Coding::Gzip).unwrap();
        let mut back = String::new();
        let mut reader = flate2::read::GzDecoder::new(&packed[..]);
        reader.read_to_string(&mut back).unwrap();
        assert_eq!(back, text);
        let packed = compressed(text.as_bytes(), Coding::Brotli).unwrap();
        let mut back = Vec::new();
        brotli::BrotliDecompress(&mut &packed[..], &mut back).unwrap();
        assert_eq!(back, text.as_bytes());
        assert!(compressed(b"x", Coding::Gzip).is_none(), "it grew");
    }

    #[test]
    fn text_is_worth_it_and_pictures_are_not() {
        for (kind, worth) in [
            ("text/html; charset=utf-8", true),
            ("image/svg+xml", true),
            ("application/json", true),
            ("application/ld+json", true),
            ("image/png", false),
            ("application/gzip", false),
            ("video/mp4", false),
            ("font/woff2", false),
        ] {
            assert_eq!(is_worth_it(kind, 5_000), worth, "{kind}");
        }
        assert!(!is_worth_it("text/html", 100));
        assert!(!is_worth_it("text/html", LARGEST + 1));
    }
}
