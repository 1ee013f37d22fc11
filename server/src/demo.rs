//! `watchfire demo`: a shop of five services that breaks on a schedule, in one process with a whole Watchfire, and local catchers
//! instead of PagerDuty, Slack and Twilio. Everything runs as in production but for two clocks, which the screen names: the
//! rule looks at 30 s instead of 5 min, and the ladder's second step comes after 10 s instead of 5 min.

pub mod catchers;
pub mod emit;
pub mod screen;
pub mod shop;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use model::incident::{Incident, IncidentStatus};
use model::query::{QueryOptions, QueryValue};
use model::state::{all, load};
use model::tenant::TenantId;
use model::time::{Clock, SystemClock, Timestamp};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::cli::{Common, DemoCommand, serve};
use crate::config::{self, Config, ObserveConfig};
use crate::pipeline::Running;
use crate::{listen, observe};

use emit::{SharedShop, emit, shop_state};
use screen::Screen;

/// Check-outs a second.
const REQUESTS: usize = 40;
/// The story must end within this time after the bad release.
const AT_MOST: Duration = Duration::from_secs(158);

const RULES: &str = r#"groups:
  - name: shop
    interval: 1s
    rules:
      - alert: CheckoutErrorRate
        expr: >-
          sum by (service_name) (rate(traces_span_metrics_calls_total{service_name="checkout",span_kind="SPAN_KIND_SERVER",status_code="STATUS_CODE_ERROR"}[30s]))
          / sum by (service_name) (rate(traces_span_metrics_calls_total{service_name="checkout",span_kind="SPAN_KIND_SERVER"}[30s]))
        thresholds: { critical: "> 0.05" }
        escalation: { critical: critical }
        remediation: repair-checkout
        annotations:
          summary: "{{ $labels.service_name }} fails {{ $value | humanizePercentage }} of its orders"
"#;

fn configuration(catchers: SocketAddr) -> String {
    format!(
        r##"
server: {{ listen: "127.0.0.1:0", otlp_grpc: "127.0.0.1:0", otlp_http: "127.0.0.1:0" }}
alerting:
  rules: rules
  escalations:
    - name: critical
      steps:
        - {{ after: 0s, notify: [pagerduty, slack] }}
        - {{ after: 10s, notify: [primary] }}
  users:
    - {{ name: ada, receivers: [sms] }}
    - {{ name: bob, receivers: [sms] }}
  schedules:
    - {{ name: primary, layers: [{{ users: [ada, bob], from: "2026-01-05 09:00", turn: 7d }}] }}
receivers:
  - {{ name: pagerduty, type: pagerduty, routing_key: demo, url: "http://{catchers}" }}
  - {{ name: slack, type: slack, token: demo, channel: "#alerts", api_url: "http://{catchers}/slack" }}
  - {{ name: sms, type: twilio_sms, account_sid: demo, auth_token: demo, from: "+15550100", to: ["+15550123"], url: "http://{catchers}" }}
incidents:
  chat_receiver: slack
remediation:
  remediations:
    - name: repair-checkout
      rungs:
        - name: scale checkout
          action: {{ type: http, method: POST, url: "http://{catchers}/shop/scale" }}
          undo: {{ type: http, method: POST, url: "http://{catchers}/shop/unscale" }}
          settle: 8s
          check_every: 2s
          verify_timeout: 6s
        - name: roll payments back
          action: {{ type: http, method: POST, url: "http://{catchers}/shop/rollback" }}
          settle: 5s
          check_every: 2s
          verify_timeout: 60s
"##
    )
}

/// Tells the story and ends with the path of the postmortem.
pub async fn run(common: &Common, command: &DemoCommand) -> anyhow::Result<ExitCode> {
    let _observing = observe::install(&ObserveConfig { log: "error".to_owned(), ..ObserveConfig::default() })?;
    let folder = std::env::temp_dir().join(format!("watchfire-demo-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("rules")).with_context(|| format!("{} cannot be made", folder.display()))?;
    std::fs::write(folder.join("rules/shop.yaml"), RULES)?;
    let socket = TcpListener::bind("127.0.0.1:0").await?;
    let text = configuration(socket.local_addr()?);
    let config_file = folder.join("watchfire.yaml");
    std::fs::write(&config_file, &text)?;
    let config: Config = config::parse(&text).map_err(anyhow::Error::msg)?;

    let stop = CancellationToken::new();
    let shop: SharedShop = Arc::default();
    let (send, caught) = mpsc::channel(256);
    let catchers = listen::serve(socket, catchers::router(send, shop.clone()), stop.clone());
    println!("Starting a Watchfire with a ClickHouse of its own in {} ...", folder.display());
    let common = Common { config: Some(config_file), data_dir: Some(folder.clone()), ..common.clone() };
    let running = serve::start(&common, config, folder).await?;
    let endpoint = format!("http://{}", running.addresses.otlp_grpc);
    let shop_at_work = tokio::spawn(emit(endpoint, shop.clone(), Arc::new(SystemClock), REQUESTS, stop.clone()));

    let outcome = story(&running, &shop, caught, command.healthy_for.0).await;
    if command.stay && outcome.is_ok() {
        println!("\nStill serving at http://{} (Ctrl-C ends it).", running.addresses.http);
        tokio::signal::ctrl_c().await?;
    }
    stop.cancel();
    shop_at_work.await??;
    catchers.await?;
    running.stop().await;
    outcome.map(|()| ExitCode::SUCCESS)
}

async fn story(
    running: &Running,
    shop: &SharedShop,
    mut caught: mpsc::Receiver<catchers::Caught>,
    healthy_for: Duration,
) -> anyhow::Result<()> {
    let clock = SystemClock;
    let start = clock.now();
    let mut screen = Screen::new(start);
    screen.introduce(&running.addresses, healthy_for);
    let mut tick = tokio::time::interval(Duration::from_millis(500));
    let (mut broken, mut seen) = (false, 0);
    loop {
        tokio::select! {
            Some(one) = caught.recv() => {
                screen.line(clock.now(), one.at, &one.line);
                continue;
            }
            _ = tick.tick() => {}
        }
        let now = clock.now();
        if !broken && now.since(start) >= healthy_for {
            broken = true;
            shop.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).bad_release = true;
            screen.line(now, "shop", "release 2.4.1 of payments goes out: a third of the charges time out");
        }
        screen.ratio(error_ratio(running, now).await, shop_state(shop));
        seen = screen.journal(&*running.state, seen).await?;
        if let Some(path) = postmortem(running).await? {
            while let Ok(one) = caught.try_recv() {
                screen.line(now, one.at, &one.line);
            }
            screen.end(now, &path, &running.addresses);
            return Ok(());
        }
        if now.since(start) > healthy_for + AT_MOST {
            bail!("the story did not end within {AT_MOST:?} after the release; what happened so far is above");
        }
    }
}

async fn error_ratio(running: &Running, now: Timestamp) -> Option<f64> {
    let red = |more: &str| {
        format!("sum(rate(traces_span_metrics_calls_total{{service_name=\"checkout\",span_kind=\"SPAN_KIND_SERVER\"{more}}}[30s]))")
    };
    let expr = format!("{} / {}", red(",status_code=\"STATUS_CODE_ERROR\""), red(""));
    let answer = running.metrics.instant(&TenantId::default(), &expr, now, &QueryOptions::default()).await.ok()?;
    match answer.value {
        QueryValue::Vector(samples) => samples.first().map(|(_, sample)| sample.value),
        QueryValue::Scalar(_) | QueryValue::Text(..) | QueryValue::Matrix(_) => None,
    }
}

/// The path of the draft, once the incident is over, its channel archived and the draft written.
async fn postmortem(running: &Running) -> anyhow::Result<Option<String>> {
    let tenant = TenantId::default();
    let incidents = all::<Incident>(&*running.state, Some(&tenant), &[], 1).await?;
    let Some(newest) = incidents.first() else { return Ok(None) };
    let Some(incident) = load::<Incident>(&*running.state, &tenant, &newest.entity.id.to_string()).await? else { return Ok(None) };
    let over = incident.entity.status == IncidentStatus::Resolved && incident.entity.chat.as_ref().is_some_and(|chat| chat.archived);
    let path = running.data_dir.join(format!("postmortems/{tenant}/incident-{}.md", incident.entity.number));
    Ok((over && path.exists()).then(|| path.display().to_string()))
}
