//! A connection that is cut or falls silent.

use super::*;

/// Between client and server: after as many bytes as the next entry says, the connection is cut (or, muted, passes
/// nothing on any more).
#[derive(Clone)]
struct Line {
    authority: String,
    cuts: Arc<Mutex<Vec<usize>>>,
    mute: Arc<AtomicBool>,
}

impl Line {
    async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let line =
            Self { authority: listener.local_addr().unwrap().to_string(), cuts: Arc::default(), mute: Arc::default() };
        let accepting = line.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&server).await.unwrap();
                tokio::spawn(accepting.clone().carry(client, server));
            }
        });
        line
    }

    async fn carry(self, mut client: TcpStream, mut server: TcpStream) {
        let (mut up, mut down) = (vec![0; 16 << 10], vec![0; 16 << 10]);
        loop {
            tokio::select! {
                read = client.read(&mut up) => match read {
                    Ok(count) if count > 0 => {
                        while self.mute.load(std::sync::atomic::Ordering::Relaxed) {
                            tokio::time::sleep(Duration::from_millis(10)).await;
                        }
                        let left = self.spend(count);
                        if server.write_all(&up[..left.unwrap_or(count)]).await.is_err() || left.is_some() { return }
                    }
                    _ => return,
                },
                read = server.read(&mut down) => match read {
                    Ok(count) if count > 0 => if client.write_all(&down[..count]).await.is_err() { return },
                    _ => return,
                },
            }
        }
    }

    /// How many of `count` bytes still pass, when a cut comes among them.
    fn spend(&self, count: usize) -> Option<usize> {
        let mut cuts = self.cuts.lock().unwrap();
        let next = cuts.first_mut()?;
        if *next > count {
            *next -= count;
            return None;
        }
        Some(cuts.remove(0))
    }
}

/// Parts of 1 MiB, of bytes that are all different in their way.
fn long_parts(count: u32) -> (Vec<Part>, Vec<u8>) {
    let bytes: Vec<u8> = (0..count << 20).map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let whole = Bytes::from(bytes.clone());
    let parts = (0..count).map(|index| Part {
        index,
        offset: u64::from(index) << 20,
        data: Segments::from(whole.slice((index as usize) << 20..(index as usize + 1) << 20)),
        total: (index + 1 == count).then_some(u64::from(count) << 20),
        last: index + 1 == count,
        activity: Activity::default(),
    });
    (parts.collect(), bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_is_cut_again_and_again_costs_only_time() {
    let Some(server) = Apache::start() else { return };
    let line = Line::to(server.authority()).await;
    let store =
        connect(&format!("webdav://{}/dav", line.authority), apache::USER, apache::PASSWORD, &[]).await.unwrap();
    let (parts, bytes) = long_parts(6);
    let upload = store.create("a.tar", exactly(bytes.len() as u64)).await.unwrap();
    *line.cuts.lock().unwrap() = (1..=20).map(|turn| turn * 91_733 % 500_000).collect();
    let mut breaks = 0;
    for part in &parts {
        while let Err(error) = upload.put(part).await {
            assert!(error.is_transient(), "{error}");
            breaks += 1;
            assert!(breaks < 60, "it never ends");
        }
    }
    assert!(breaks >= 5, "{breaks}");
    upload.patch(3, b"patched").await.unwrap();
    while let Err(error) = upload.commit(&completed(bytes.len() as u64)).await {
        assert!(error.is_transient(), "{error}");
    }
    let mut expected = bytes;
    expected[3..10].copy_from_slice(b"patched");
    assert!(fs::read(server.files().join("a.tar")).unwrap() == expected);
    assert_eq!(
        fs::read_dir(server.files()).unwrap().filter(|entry| entry.as_ref().unwrap().file_name() != ".DAV").count(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_request_that_is_cut_begins_anew_and_leaves_nothing() {
    let Some(server) = Wsgidav::start() else { return };
    let line = Line::to(server.authority()).await;
    let store = connect(&format!("webdav://{}", line.authority), wsgidav::USER, wsgidav::PASSWORD, &[]).await.unwrap();
    let (parts, bytes) = long_parts(4);
    *line.cuts.lock().unwrap() = vec![2_500_000, 100];
    let mut lost = 0;
    'anew: loop {
        let Ok(upload) = store.create("a.tar", exactly(bytes.len() as u64)).await else { continue };
        for part in &parts {
            if let Err(error) = upload.put(part).await {
                assert_eq!(error.kind(), Some(Kind::Lost), "{error}");
                lost += 1;
                upload.abort().await.ok();
                continue 'anew;
            }
        }
        upload.commit(&completed(bytes.len() as u64)).await.unwrap();
        break;
    }
    assert!(lost >= 1);
    assert!(fs::read(server.files().join("a.tar")).unwrap() == bytes);
    // Only the second cut may have kept the first leftover from being removed.
    assert!(fs::read_dir(server.files()).unwrap().count() <= 2);
}

/// Sends a file over a connection that is cut as configured, and checks what arrived.
fn pushed_through(
    server: String,
    place: &str,
    (user, password): (&str, &str),
    cuts: Vec<usize>,
    arrived: impl FnOnce() -> Vec<u8>,
) {
    let directory = tempfile::tempdir().unwrap();
    let (_, bytes) = long_parts(20);
    fs::write(directory.path().join("a.tar"), &bytes).unwrap();
    let tuning =
        Tuning { first_pause: Duration::from_millis(5), longest_pause: Duration::from_millis(20), ..Tuning::default() };
    let context = context(tuning, directory.path(), user, password);
    let bridge = Bridge::start().unwrap();
    let line = bridge.wait(Line::to(server));
    let address = Address::parse(&format!("webdav://{}{place}", line.authority)).unwrap();
    let store = bridge.wait(store::connect(&address, &Options::default(), &context)).unwrap();
    *line.cuts.lock().unwrap() = cuts;
    let meter = Arc::new(UploadMeter::new(store.label()));
    let options =
        PushOptions { archive: Original::File(&directory.path().join("a.tar")), name: "b.tar", read_back: true };
    let done = push(&options, &(store.clone() as _), &Network { bridge: &bridge, context: &context }, &meter).unwrap();
    assert_eq!((done.length, done.checked), (bytes.len() as u64, Checked::ReadBack));
    assert!(line.cuts.lock().unwrap().is_empty(), "every cut was met");
    assert!(arrived() == bytes);
}

#[test]
fn an_archive_is_pushed_over_a_bad_line_to_either_kind_of_server() {
    if let Some(server) = Apache::start() {
        let cuts = (1..=20).map(|turn| 100_000 + turn * 377_333 % 900_000).collect();
        pushed_through(server.authority(), "/dav", (apache::USER, apache::PASSWORD), cuts, || {
            fs::read(server.files().join("b.tar")).unwrap()
        });
    }
    if let Some(server) = Wsgidav::start() {
        let cuts = vec![7_000_000, 100_000];
        pushed_through(server.authority(), "", (wsgidav::USER, wsgidav::PASSWORD), cuts, || {
            fs::read(server.files().join("b.tar")).unwrap()
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_falls_silent_is_noticed() {
    for (pieces, expected) in [(Pieces::Honoured, Kind::Transient { retry_after: None }), (Pieces::Refused, Kind::Lost)]
    {
        let server = Nextcloud::plain(pieces).await.unwrap();
        let line = Line::to(server.authority()).await;
        let url = format!("webdav://{}/remote.php/dav/files/ha%20ul", line.authority);
        let store =
            connect_within(Duration::from_secs(1), &url, nextcloud::USER, nextcloud::PASSWORD, &[]).await.unwrap();
        let (parts, bytes) = long_parts(8);
        let upload = store.create("a.tar", exactly(bytes.len() as u64)).await.unwrap();
        line.mute.store(true, std::sync::atomic::Ordering::Relaxed);
        let mut failed = None;
        for part in &parts {
            failed = upload.put(part).await.err();
            if failed.is_some() {
                break;
            }
        }
        let failed = failed.expect("nothing passes");
        assert_eq!(failed.kind(), Some(expected), "{failed}");
        assert!(failed.to_string().contains("no answer for"), "{failed}");
    }
}
