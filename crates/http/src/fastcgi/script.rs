//! Which script a path asks for.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tandem_model::FastCgi;

/// What a program is asked to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// What the file says of the program.
    pub program: Arc<FastCgi>,
    /// The script, from the root: `SCRIPT_NAME`. Empty for a program that answers every path itself.
    pub script: Vec<u8>,
    /// What follows in the path: `PATH_INFO`.
    pub info: Vec<u8>,
    /// The directory of the scripts, as the program gets it.
    pub root: Option<PathBuf>,
    /// The path names it, and its file is there: what it answers, 404 too, is the answer.
    pub is_there: bool,
    /// Path and query for `REQUEST_URI`, where they are not as the client sent them.
    pub uri: Option<Vec<u8>>,
}

impl Call {
    /// What a path in its normal form asks for; `None` is nothing that there is. It may ask the disk, so it is called where
    /// that may take its time, unless [`is_known`](Self::is_known).
    pub fn of(program: &Arc<FastCgi>, path: &[u8]) -> Option<Self> {
        let root = program.root.as_deref();
        let here = root.filter(|root| root.is_dir());
        let mut call = match here {
            Some(root) => Self::find(program, path, |script| below(root, script).is_file()),
            // Its files are elsewhere, where the program runs: it will say itself what is not there.
            None => Self::find(program, path, |script| is_plausible(program, path, script)),
        }?;
        call.is_there &= here.is_some();
        if program.real_root
            && let Some(real) = root.and_then(|root| root.canonicalize().ok())
        {
            call.root = Some(real);
        }
        Some(call)
    }

    /// Whether no disk is asked.
    pub fn is_known(program: &FastCgi) -> bool {
        program.root.is_none() || program.script.is_some() && !program.real_root
    }

    fn find(program: &Arc<FastCgi>, path: &[u8], is_there: impl Fn(&[u8]) -> bool) -> Option<Self> {
        let call = |script: &[u8], info: &[u8]| Self {
            program: program.clone(),
            script: script.into(),
            info: info.into(),
            root: program.root.clone(),
            is_there: false,
            uri: None,
        };
        let named = |script: &[u8], info: &[u8]| Self {
            is_there: true,
            ..call(script, info)
        };
        if program.root.is_none() {
            return Some(call(b"", path));
        }
        if let Some(script) = &program.script {
            return Some(call(script.as_bytes(), b""));
        }
        let own = match (program.extension.as_bytes(), program.path_info) {
            (b"", true) => ends(path).find(|(script, _)| is_there(script)),
            (extension, true) => split(path, extension).filter(|(script, _)| is_there(script)),
            (extension, false) => {
                let is_called_so = path.ends_with(extension) && !path.ends_with(b"/");
                (is_called_so && is_there(path)).then_some((path, &b""[..]))
            }
        };
        if let Some((script, info)) = own {
            return Some(named(script, info));
        }
        if path.ends_with(b"/") {
            let script = [path, program.index.as_bytes()].concat();
            if is_there(&script) {
                return Some(named(&script, b""));
            }
        }
        let front = program.front.as_deref()?;
        Some(call(front.as_bytes(), b""))
    }

    /// The script's file, as the program knows it.
    pub(crate) fn file(&self) -> Option<PathBuf> {
        Some(below(self.root.as_deref()?, &self.script))
    }
}

/// The path as a whole, and up to each of its parts from the last one on.
fn ends(path: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let slashes = memchr::memrchr_iter(b'/', path).filter(|&at| at > 0);
    let whole = (!path.ends_with(b"/")).then_some(path.len());
    whole
        .into_iter()
        .chain(slashes)
        .map(|end| path.split_at(end))
}

/// The path up to the first part of it that is called like a script, and what follows.
fn split<'a>(path: &'a [u8], extension: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let ends = memchr::memmem::find_iter(path, extension).map(|at| at + extension.len());
    let mut ends = ends.filter(|&end| matches!(path.get(end), None | Some(b'/')));
    ends.next().map(|end| path.split_at(end))
}

/// Of a program whose files are not here: what is called like a script is one; of a directory nothing is known where `front`
/// would answer for it.
fn is_plausible(program: &FastCgi, path: &[u8], script: &[u8]) -> bool {
    path.starts_with(script) || program.front.is_none()
}

fn below(root: &Path, script: &[u8]) -> PathBuf {
    let script = script.strip_prefix(b"/").unwrap_or(script);
    root.join(std::ffi::OsStr::from_bytes(script))
}

#[cfg(test)]
mod tests {
    use super::*;

    const THERE: [&[u8]; 4] = [b"/index.php", b"/a/x.php", b"/admin/index.php", b"/v.php/y"];

    fn program(front: Option<&str>) -> Arc<FastCgi> {
        Arc::new(FastCgi {
            root: Some("/no/such/directory".into()),
            front: front.map(str::to_owned),
            path_info: true,
            ..FastCgi::default()
        })
    }

    fn asked(front: Option<&str>, path: &str) -> Option<(String, String)> {
        let call = Call::find(&program(front), path.as_bytes(), |script| {
            THERE.contains(&script)
        });
        let text = |bytes| String::from_utf8(bytes).unwrap();
        call.map(|call| (text(call.script), text(call.info)))
    }

    #[test]
    fn a_script_is_what_is_called_like_one_and_there_and_the_rest_is_its_path() {
        let script = |script: &str, info: &str| Some((script.to_owned(), info.to_owned()));
        assert_eq!(asked(None, "/a/x.php"), script("/a/x.php", ""));
        assert_eq!(asked(None, "/a/x.php/b/c"), script("/a/x.php", "/b/c"));
        assert_eq!(asked(None, "/a/x.php/"), script("/a/x.php", "/"));
        assert_eq!(asked(None, "/admin/"), script("/admin/index.php", ""));
        assert_eq!(asked(None, "/"), script("/index.php", ""));
        for nothing in ["/a/none.php", "/a/x.phps", "/admin", "/image.png", "/a/"] {
            assert_eq!(asked(None, nothing), None, "{nothing}");
            let front = asked(Some("/index.php"), nothing);
            assert_eq!(front, script("/index.php", ""), "{nothing}");
        }
        // Where the first is no file, a later one is not taken for it.
        assert_eq!(asked(None, "/image.php.png/x.php"), None);
    }

    #[test]
    fn what_follows_a_script_is_its_own_only_where_the_file_says_so() {
        let program = Arc::new(FastCgi {
            path_info: false,
            ..(*program(None)).clone()
        });
        let every = Arc::new(FastCgi {
            extension: String::new(),
            ..(*program).clone()
        });
        let asked = |program: &Arc<FastCgi>, path: &str| {
            let call = Call::find(program, path.as_bytes(), |script| THERE.contains(&script))?;
            assert!(call.info.is_empty());
            Some(String::from_utf8(call.script).unwrap())
        };
        for program in [&program, &every] {
            assert_eq!(asked(program, "/a/x.php").as_deref(), Some("/a/x.php"));
            assert_eq!(
                asked(program, "/admin/").as_deref(),
                Some("/admin/index.php")
            );
            for path in [
                "/a/x.php/",
                "/a/x.php/more",
                "/a/x.php/y.php",
                "/index.php/",
            ] {
                assert_eq!(asked(program, path), None, "{path}");
            }
        }
    }

    #[test]
    fn one_script_answers_every_path() {
        let program = Arc::new(FastCgi {
            script: Some("/app.php".into()),
            ..(*program(None)).clone()
        });
        assert!(Call::is_known(&program));
        for path in ["/", "/a/x.php", "/a/x.php/more", "/none/"] {
            let call = Call::of(&program, path.as_bytes()).unwrap();
            assert_eq!((&*call.script, &*call.info), (&b"/app.php"[..], &b""[..]));
        }
    }

    #[test]
    fn without_an_extension_every_file_is_a_script() {
        let program = Arc::new(FastCgi {
            extension: String::new(),
            index: "main".into(),
            ..(*program(None)).clone()
        });
        let there: [&[u8]; 3] = [b"/a/x", b"/a/x.pl", b"/main"];
        let asked = |path: &str| {
            let call = Call::find(&program, path.as_bytes(), |script| there.contains(&script))?;
            let text = |bytes| String::from_utf8(bytes).unwrap();
            Some((text(call.script), text(call.info)))
        };
        let script = |script: &str, info: &str| Some((script.to_owned(), info.to_owned()));
        assert_eq!(asked("/a/x"), script("/a/x", ""));
        assert_eq!(asked("/a/x/b/c"), script("/a/x", "/b/c"));
        assert_eq!(asked("/a/x.pl/"), script("/a/x.pl", "/"));
        assert_eq!(asked("/"), script("/main", ""));
        assert_eq!((asked("/a"), asked("/a/y")), (None, None));
        // Where they are elsewhere a path is one as a whole.
        let call = Call::of(&program, b"/a/y/z").unwrap();
        assert_eq!((&*call.script, &*call.info), (&b"/a/y/z"[..], &b""[..]));
    }

    #[test]
    fn of_files_that_are_elsewhere_names_alone_are_known() {
        let asked = |front, path: &str| {
            let call = Call::of(&program(front), path.as_bytes());
            call.map(|call| String::from_utf8(call.script).unwrap())
        };
        assert_eq!(asked(None, "/a/x.php/b").as_deref(), Some("/a/x.php"));
        assert_eq!(asked(None, "/a/").as_deref(), Some("/a/index.php"));
        assert_eq!(asked(None, "/image.png"), None);
        let front = Some("/main.php");
        assert_eq!(asked(front, "/a/x.php/b").as_deref(), Some("/a/x.php"));
        assert_eq!(asked(front, "/a/").as_deref(), Some("/main.php"));
    }

    #[test]
    fn a_program_without_a_root_answers_every_path() {
        let program = Arc::new(FastCgi::default());
        let call = Call::of(&program, b"/a/x.php").unwrap();
        assert_eq!(
            (&*call.script, &*call.info, call.file()),
            (&b""[..], &b"/a/x.php"[..], None)
        );
    }
}
