//! `lapwing run`: puts the parts together, and takes them apart in order.

use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use lapwing_api::{AdminAddress, AdminListener, WatchHub};
use lapwing_core::{Core, Input};
use lapwing_net::{Command, NetConfig};
use lapwing_protocol::trust::TrustView;
use lapwing_store::{Committer, SledOptions, SledStore};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing::{debug, error, info, warn};

use crate::config::{self, Config};
use crate::keys::NodeKeys;
use crate::logging::{self, Logging};
use crate::metrics::Metrics;
use crate::reload::Reloader;
use crate::service::Service;
use crate::shell::{self, Outlets, Report, Shell, now};
use crate::status::Watcher;

/// Mailboxes that clients may wait for at once.
const MAX_WATCHED: usize = 262_144;
/// How often the report for the admin API is renewed.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// How often the node looks at itself for what its operator should know.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Run the node until SIGINT or SIGTERM.
#[derive(Args)]
#[command(after_help = "\
Examples:
  lapwing run --config /var/lib/lapwing/lapwing.toml
  LAPWING_LOG=lapwing_net=debug lapwing run --config lapwing.toml

SIGHUP reads the configuration anew. SIGINT and SIGTERM stop the node in order: requests under way are
answered, then other nodes are told, then the disk is synced; within 45 seconds.

Exit codes: 0 stopped, 1 it could not start or the disk failed (the last line says why), 2 wrong usage.")]
pub(crate) struct Run {
    /// The node's configuration, as `lapwing init` makes it.
    #[arg(long, value_name = "FILE", default_value = "lapwing.toml")]
    config: PathBuf,
}

impl Run {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let config = config::load(&self.config)?;
        let logging = logging::start(config.log_format, config.log_level);
        let keys = NodeKeys::read(&config.key_file)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?;
        let done = runtime.block_on(serve(self.config, config, keys, logging));
        runtime.shutdown_timeout(Duration::from_secs(2));
        done
    }
}

/// The view that the node starts with: its federation and the roster of its federation file.
fn first_view(config: &Config) -> anyhow::Result<TrustView> {
    let mut view = TrustView::new(config.federation.federation.clone())
        .map_err(|p| anyhow::anyhow!("the federation file cannot be used: {p}"))?;
    if let Some(roster) = &config.federation.roster
        && let Err(refused) = view.learn(roster, now().time())
    {
        // An expired one is no harm where a newer one is stored or comes from a peer.
        warn!(
            problem = refused.problem.text(),
            "the roster of the federation file is not taken"
        );
    }
    Ok(view)
}

async fn serve(
    path: PathBuf,
    config: Config,
    keys: NodeKeys,
    logging: Logging,
) -> anyhow::Result<()> {
    let mut signals = Signals::mind()?;
    let started = now().time();

    // What lies in it concerns this node alone.
    let mut private = std::fs::DirBuilder::new();
    private.mode(0o700).recursive(true);
    private.create(&config.data_dir).with_context(|| {
        format!(
            "{}: cannot be made; create it, or change `data_dir`",
            config.data_dir.display()
        )
    })?;
    let api = bind_api(&config).await?;
    let admin = AdminListener::bind(&AdminAddress::Socket(config.admin_socket.clone())).await.with_context(|| {
        format!("{}: the admin socket cannot be made; stop the node that uses it, or change `admin.socket`", config.admin_socket.display())
    })?;
    let options = SledOptions {
        cache_bytes: config.cache_bytes,
        ..SledOptions::default()
    };
    let store = Arc::new(SledStore::open(&config.data_dir.join("store"), &options)?);
    let view = first_view(&config)?;
    let (core, effects) = Core::open(keys.identity(), store.clone(), view, now())
        .context("the store cannot be read: move it aside with `lapwing store set-aside`")?;
    debug!(
        roster = core.view().roster().map_or(0, |r| r.sequence),
        "the store is open"
    );
    let (shell, inbox) = Shell::new(core.view().clone(), WatchHub::new(MAX_WATCHED));
    let committer = Arc::new(start_committer(&store, &shell)?);
    let net = Arc::new(start_net(&config, &keys, &shell).await?);

    let outlets = Outlets {
        committer: committer.clone(),
        net: net.clone(),
        runtime: tokio::runtime::Handle::current(),
    };
    let thread_shell = shell.clone();
    let (ended, mut core_ended) = watch::channel(false);
    let thread = std::thread::Builder::new()
        .name("core".into())
        .spawn(move || {
            shell::run(core, effects, &thread_shell, &inbox, &outlets);
            let _ = ended.send(true);
        })?;

    let (report_to, report) = watch::channel(None);
    tokio::spawn(keep_report(shell.clone(), report_to));
    let metrics = Metrics::new(&logging.counts);
    let data_dir = config.data_dir.clone();
    let (reloader, api_changes) = Reloader::new(path, config, logging, shell.clone());
    let service = Arc::new(Service {
        id: keys.node_id(),
        started,
        data_dir,
        signing: keys.signing().verifying_key(),
        shell: shell.clone(),
        store,
        committer: committer.clone(),
        net: net.clone(),
        report,
        metrics,
        watcher: Watcher::default(),
        reloader,
    });
    tokio::spawn(look(service.clone()));
    tokio::spawn(reload_on_signal(service.clone(), signals.hangup));
    let (stop, stopping) = watch::channel(false);
    let closed = |mut stopping: watch::Receiver<bool>| async move {
        let _ = stopping.wait_for(|s| *s).await;
    };
    let admin = tokio::spawn(lapwing_api::serve_admin(
        admin,
        service.clone(),
        closed(stopping.clone()),
    ));
    let address = api.local_addr()?;
    let api = tokio::spawn(lapwing_api::serve_changing(
        api,
        service,
        api_changes,
        closed(stopping),
    ));
    info!(node = %keys.node_id(), api = %address, "running");
    for listening in net.listening() {
        info!(address = %listening, "peers connect here");
    }

    tokio::select! {
        _ = signals.interrupt.recv() => info!(signal = "SIGINT", "stopping"),
        _ = signals.terminate.recv() => info!(signal = "SIGTERM", "stopping"),
        _ = core_ended.wait_for(|e| *e) => {}
    }
    // Clients first, then peers, then the core, then the disk: nothing acknowledged is left behind.
    let _ = stop.send(true);
    let _ = api.await;
    shell.drain();
    net.send(Command::Shutdown);
    let _ = tokio::time::timeout(Duration::from_secs(5), net.closed()).await;
    shell.stop();
    let _ = tokio::task::spawn_blocking(move || thread.join()).await;
    committer.close();
    admin.abort();
    if shell.failed() {
        error!("the disk failed; nothing that was not acknowledged is promised");
        bail!("the disk failed: free or repair it, then start again");
    }
    info!("stopped");
    Ok(())
}

async fn bind_api(config: &Config) -> anyhow::Result<TcpListener> {
    TcpListener::bind(config.api_listen).await.map_err(|e| {
        let what = match e.kind() {
            std::io::ErrorKind::AddrInUse => {
                "the port is in use; stop the other process, or change `api.listen`".to_owned()
            }
            _ => format!("cannot listen there ({e}); change `api.listen`"),
        };
        anyhow::anyhow!("{}: {what}", config.api_listen)
    })
}

fn start_committer(store: &Arc<SledStore>, shell: &Shell) -> anyhow::Result<Committer> {
    let shell = shell.clone();
    let done = move |result: Result<
        &[lapwing_core::store::CommitId],
        &lapwing_store::WriteError,
    >| match result {
        Ok(ids) => {
            // Ids ascend, and the last includes those before it.
            if let Some(last) = ids.last() {
                shell.tell(Input::Durable(*last));
            }
        }
        Err(error) => {
            error!(%error, "the store cannot write");
            shell.fail();
            shell.tell(Input::Tick);
        }
    };
    Ok(Committer::start(store.clone(), done)?)
}

async fn start_net(
    config: &Config,
    keys: &NodeKeys,
    shell: &Shell,
) -> anyhow::Result<lapwing_net::Handle> {
    let mut net = NetConfig::new(config.federation.federation.id(), keys.peer_seed());
    net.listen.clone_from(&config.listen);
    net.announce.clone_from(&config.announce);
    net.bootstrap.clone_from(&config.bootstrap);
    net.mdns = config.mdns;
    net.limits = config.net_limits.clone();
    let inputs = shell.clone();
    let handle = lapwing_net::start(
        net,
        shell.view(),
        Arc::new(|| now().time()),
        Arc::new(move |input| inputs.tell(input)),
    )
    .await?;
    Ok(handle)
}

async fn keep_report(shell: Shell, to: watch::Sender<Option<Arc<Report>>>) {
    while let Some(report) = shell.report().await {
        if to.send(Some(Arc::new(report))).is_err() {
            return;
        }
        tokio::time::sleep(REPORT_EVERY).await;
    }
}

/// Tells the log what is newly wrong, steadily.
async fn look(service: Arc<Service>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let service = service.clone();
        // It asks the disk for its free space, which may take a while.
        let _panicked = tokio::task::spawn_blocking(move || service.look()).await;
    }
}

/// Reads the configuration anew whenever SIGHUP comes.
async fn reload_on_signal(service: Arc<Service>, mut hangup: Signal) {
    while hangup.recv().await.is_some() {
        let service = service.clone();
        // What came of it is in the log.
        let _said = tokio::task::spawn_blocking(move || service.reloader.reload().is_ok()).await;
    }
}

/// The signals that a node minds. From here on they wait to be looked at, and no longer end the process:
/// a node that is told to stop, or to reload, while it starts does so once it has started.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn mind() -> anyhow::Result<Self> {
        let mind = |kind| signal(kind).context("the system takes no handlers for signals");
        Ok(Self {
            interrupt: mind(SignalKind::interrupt())?,
            terminate: mind(SignalKind::terminate())?,
            hangup: mind(SignalKind::hangup())?,
        })
    }
}
