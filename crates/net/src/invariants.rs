//! What holds of whatever bytes come: for the fuzzer, and for plain tests that replay its corpus.

use tandem_model::ProxyVersion;

use crate::proxy;

/// A PROXY header: any cut means the same, and what it states can be stated again. Panics when not.
pub fn proxy_header(bytes: &[u8]) {
    let whole = proxy::parse(bytes);
    for cut in 0..bytes.len().min(600) {
        match proxy::parse(&bytes[..cut]) {
            Ok(None) => {}
            said => assert_eq!(said, whole, "cut at {cut}"),
        }
    }
    let Ok(Some(header)) = whole else { return };
    assert!(header.length <= bytes.len().min(proxy::MAX_HEADER));
    for version in [ProxyVersion::V1, ProxyVersion::V2] {
        let written = proxy::header(version, header.source, None);
        let source = header
            .source
            .map(|at| std::net::SocketAddr::new(at.ip().to_canonical(), at.port()));
        let length = written.len();
        assert_eq!(
            proxy::parse(&written),
            Ok(Some(proxy::Header { length, source }))
        );
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_corpus_of_proxy_headers_holds() {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let dir = dir.join("../../fuzz/corpus/proxy_header");
        let mut files = 0;
        for entry in std::fs::read_dir(&dir).expect("there is a corpus") {
            let path = entry.expect("it can be listed").path();
            println!("{}", path.display());
            super::proxy_header(&std::fs::read(&path).expect("it can be read"));
            files += 1;
        }
        assert!(files >= 10, "only {files} in {}", dir.display());
    }
}
