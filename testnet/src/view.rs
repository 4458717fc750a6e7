//! The live view: nodes, replication, bookings and what happens, redrawn in place on a terminal; where
//! there is none, a line now and then.

mod picture;

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::sync::Arc;
use std::time::Duration;

use rustix::termios::tcgetwinsize;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, timeout};

use self::picture::{Scene, Seen, Size, picture};
use crate::faults::SharedNet;
use crate::node::Life;
use crate::report::Say;
use crate::scenario::Scenario;
use crate::tally::Tally;

/// Between two drawings.
const FRAME: Duration = Duration::from_millis(250);
/// Between two looks at a node.
const LOOK: Duration = Duration::from_secs(1);
/// Between two lines where nothing is drawn.
const LINE: Duration = Duration::from_secs(5);
/// The size of a terminal that does not say.
const UNKNOWN: Size = Size {
    columns: 80,
    rows: 24,
};
/// How long the last picture may take.
const LAST: Duration = Duration::from_secs(2);

/// What a view shows.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The run's nodes.
    pub net: SharedNet,
    /// What has happened.
    pub tally: Arc<Tally>,
    /// Where lines go.
    pub say: Arc<Say>,
    /// What is played; nothing if nothing is.
    pub scenario: Option<Arc<Scenario>>,
    /// The seed.
    pub seed: u64,
}

/// Whether a view can be drawn here.
#[must_use]
pub fn possible() -> bool {
    io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|t| t != "dumb")
}

/// A view that is shown until this is dropped or [`View::end`]ed.
#[derive(Debug)]
pub struct View {
    say: Arc<Say>,
    drawn: bool,
    over: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl View {
    /// Draws, if `draw`; else says now and then how far it is.
    #[must_use]
    pub fn start(shown: Shown, draw: bool) -> Self {
        let mut tasks = JoinSet::new();
        let say = shown.say.clone();
        let (over, ends) = watch::channel(false);
        if draw {
            say.watched(true);
            tasks.spawn(redraw(shown, ends));
        } else {
            tasks.spawn(lines(shown));
        }
        View {
            say,
            drawn: draw,
            over,
            tasks,
        }
    }

    /// Ends it; from now on lines are printed. A last picture, of how it is now, stays.
    pub async fn end(mut self) {
        self.over.send_replace(true);
        if self.drawn {
            // A node that does not answer must not keep the end waiting.
            let _drawn = timeout(LAST, self.tasks.join_next()).await;
        }
        self.tasks.shutdown().await;
        if self.drawn {
            self.say.watched(false);
        }
    }
}

async fn look(net: &SharedNet) -> Vec<Seen> {
    let nodes: Vec<_> = {
        let net = net.lock().await;
        net.nodes().iter().map(|n| (n.probe(), n.life())).collect()
    };
    let mut asked = JoinSet::new();
    for (n, (probe, life)) in nodes.into_iter().enumerate() {
        asked.spawn(async move {
            let status = match life {
                // A paused node would keep us waiting.
                Life::Up => probe.status().await.ok(),
                Life::Paused | Life::Down => None,
            };
            let seen = Seen {
                id: probe.id,
                name: probe.name,
                api: probe.api,
                life,
                status,
            };
            (n, seen)
        });
    }
    let mut seen: Vec<_> = asked.join_all().await;
    seen.sort_by_key(|(n, _)| *n);
    seen.into_iter().map(|(_, seen)| seen).collect()
}

async fn redraw(shown: Shown, mut ends: watch::Receiver<bool>) {
    let mut nodes = look(&shown.net).await;
    let mut looked = Instant::now();
    let mut frames = interval(FRAME);
    let mut height = 0;
    loop {
        let last = tokio::select! {
            _ = frames.tick() => false,
            _ = ends.wait_for(|over| *over) => true,
        };
        if last || looked.elapsed() >= LOOK {
            nodes = look(&shown.net).await;
            looked = Instant::now();
        }
        let size = tcgetwinsize(io::stdout()).map_or(UNKNOWN, |size| Size {
            columns: size.ws_col.into(),
            rows: size.ws_row.into(),
        });
        // A terminal that does not say how large it is says zero.
        let size = if size.columns == 0 { UNKNOWN } else { size };
        let scene = Scene {
            say: &shown.say,
            progress: shown.tally.now(),
            scenario: shown.scenario.as_deref(),
            seed: shown.seed,
        };
        let text = picture(&scene, &nodes, size);
        let mut out = String::new();
        if height > 0 {
            // Cursor to the first line of the last picture. ECMA-48, CPL.
            let _ = write!(out, "\x1b[{height}F");
        }
        height = 0;
        for line in text.lines() {
            // Each line cleared to its end.
            let _ = writeln!(out, "{line}\x1b[0m\x1b[K");
            height += 1;
        }
        out.push_str("\x1b[J");
        {
            let mut stdout = io::stdout().lock();
            // Nobody looks any more: the run goes on all the same.
            let _closed = stdout
                .write_all(out.as_bytes())
                .and_then(|()| stdout.flush());
        }
        if last {
            return;
        }
    }
}

async fn lines(shown: Shown) {
    loop {
        sleep(LINE).await;
        let p = shown.tally.now();
        if p.users_began {
            shown.say.line(
                "so far",
                "",
                format!(
                    "{} requests, {} offers, {} bookings confirmed, {} turned down, {} done",
                    p.admitted, p.offers, p.confirmed, p.turned_down, p.done
                ),
            );
        }
    }
}
