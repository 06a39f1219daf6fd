//! Home Assistant is told of backups through an MQTT broker, and its buttons reach the service.
//!
//! [`entities`] says what is to be known, [`outbox`] what of it has to be sent; [`packet`] and [`connection`] speak with
//! the broker. What is here waits for whatever happens first. A broker that is away holds up nothing: it is called again
//! after growing pauses, and then told everything anew.

mod connection;
mod entities;
mod names;
mod outbox;
mod packet;

use std::{collections::BTreeSet, future::pending, sync::Arc, time::Duration};

use jiff::Timestamp;
use keeper::{
    service::Service,
    status::{Event, Failure, Status},
};
use tokio::{
    runtime::Handle,
    sync::watch,
    task::{JoinHandle, spawn_blocking},
    time::{Instant, sleep_until},
};

use self::{
    connection::{Connection, GOODBYE, KEEP_ALIVE, PATIENCE},
    entities::Teller,
    names::{Names, OFFLINE, ONLINE, PRESS},
    outbox::{Memory, Message, Outbox},
    packet::Packet,
};
use super::Running;
use crate::{clock, config::Mqtt, destination, output};

/// Several changes at once are one.
const SETTLING: Duration = Duration::from_millis(500);
/// Between two looks at what changes all the time, while something runs.
const WHILE_RUNNING: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(5);
/// A connection that lasted so long was a good one.
const LASTING: Duration = Duration::from_mins(1);
/// Events that are told at once at most, after the broker was away.
const MOST_EVENTS: usize = 50;
/// How often the log says that a button did nothing.
const QUIET: Duration = Duration::from_mins(1);

/// The connection to the broker that the configuration names, if any.
pub(super) struct Broker {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Broker {
    pub(super) fn start(runtime: &Handle, running: &Running, page: Option<String>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let service = Arc::clone(&running.service);
        let driver = Driver {
            told: last_event(&service),
            service,
            changes: running.changes.clone(),
            outside: Outside { settings: running.configuration.mqtt.subscribe(), stopped },
            page,
            memory: Memory::in_directory(&destination::state_directory()),
            client: client(),
            said: BTreeSet::new(),
            refused: None,
            away: None,
        };
        Self { stop, task: runtime.spawn(driver.run()) }
    }

    /// Says goodbye.
    pub(super) fn stop(self, runtime: &Handle) {
        let _ = self.stop.send(true);
        let _ = runtime.block_on(async { tokio::time::timeout(GOODBYE, self.task).await });
    }
}

/// Another one each time: a broker ends the connection of whoever comes twice.
fn client() -> String {
    let mut bytes = [0; 8];
    // Without randomness there are worse problems; then it is the same for all.
    let _ = getrandom::fill(&mut bytes);
    format!("haul-{:016x}", u64::from_ne_bytes(bytes))
}

fn last_event(service: &Service) -> i64 {
    service.events(None, 1).first().map_or(0, |event| event.id)
}

struct Driver {
    service: Arc<Service>,
    changes: watch::Receiver<u64>,
    outside: Outside,
    page: Option<String>,
    memory: Memory,
    client: String,
    /// The number of the last event that was told.
    told: i64,
    /// What the log says of the broker since it was there last: each is said once.
    said: BTreeSet<String>,
    /// When the log said last that a button did nothing.
    refused: Option<Instant>,
    /// Since when a broker that was there is away. One that never was there is a problem at once.
    away: Option<Instant>,
}

/// What ends a connection from outside.
struct Outside {
    settings: watch::Receiver<Option<Mqtt>>,
    stopped: watch::Receiver<bool>,
}

impl Outside {
    /// Waits for the end of the service, or for other settings.
    async fn end(&mut self) -> End {
        tokio::select! {
            _ = self.stopped.wait_for(|stopped| *stopped) => End::Stopped,
            changed = self.settings.changed() => if changed.is_ok() { End::Changed } else { End::Stopped },
        }
    }
}

/// Why a connection ended.
enum End {
    /// The service ends.
    Stopped,
    /// There are other settings.
    Changed,
    /// A clause about the broker.
    Lost(String),
}

/// What happens while connected.
enum Happening {
    Packet(Result<Packet, String>),
    Change,
    Due,
    Silence,
    End(End),
}

impl Driver {
    async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let settings = self.outside.settings.borrow_and_update().clone();
            let began = Instant::now();
            let end = match &settings {
                Some(settings) => self.connected(settings).await,
                None => self.outside.end().await,
            };
            let end = if let (End::Lost(why), Some(settings)) = (&end, &settings) {
                let what = format!("warning: the MQTT broker at {} {why}; Haul tries again", settings.address());
                if self.said.insert(what.clone()) {
                    output::log(&what);
                }
                if self.away.is_none_or(|away| away.elapsed() > LASTING) {
                    self.note(Some(format!("the broker at {} {why}", settings.address()))).await;
                }
                if began.elapsed() > LASTING + PATIENCE {
                    pause = FIRST_PAUSE;
                }
                tokio::select! {
                    () = tokio::time::sleep(pause) => {
                        pause = (pause * 2).min(LONGEST_PAUSE);
                        continue;
                    }
                    end = self.outside.end() => end,
                }
            } else {
                end
            };
            if matches!(end, End::Stopped) {
                return;
            }
            self.said.clear();
            pause = FIRST_PAUSE;
            self.away = None;
            self.note(None).await;
        }
    }

    /// What everybody is shown of the broker.
    async fn note(&self, trouble: Option<String>) {
        let service = Arc::clone(&self.service);
        let hint = "look at the broker and at what Settings say of it; backups go on meanwhile";
        let failure = trouble.map(|message| Failure { message, hint: Some(hint.to_owned()), passes: true });
        let _ = spawn_blocking(move || service.note_broker(failure)).await;
    }

    /// Connects, and tells what there is to tell until that ends.
    async fn connected(&mut self, settings: &Mqtt) -> End {
        let names = Names::new(settings);
        let (client, availability) = (self.client.clone(), names.availability());
        let opened = tokio::select! {
            opened = Connection::open(settings, &client, Some((&availability, OFFLINE))) => opened,
            end = self.outside.end() => return end,
        };
        let mut connection = match opened {
            Ok(connection) => connection,
            Err(why) => return End::Lost(why),
        };
        let broker = settings.address();
        let mut kept = self.memory.load(&broker);
        kept.remove(&availability);
        let mut session = Session { outbox: Outbox::new(kept), names, broker, status: None, is_refused: false };
        let talked = self.talk(&mut connection, &mut session, settings).await;
        self.away = Some(Instant::now());
        let end = match talked {
            Ok(end) => end,
            Err(why) => return End::Lost(why),
        };
        match end {
            End::Changed if !self.stays(&session) => {
                let nothing = session.everything_back();
                if connection.send(&bytes(&nothing)).await.is_ok() {
                    let _ = self.memory.save(&session.broker, &BTreeSet::new());
                }
            }
            End::Changed => {}
            _ => {
                let gone = Message::kept(session.names.availability(), OFFLINE.to_owned());
                let _ = connection.send(&bytes(&[gone])).await;
            }
        }
        connection.close().await;
        end
    }

    /// Whether the new settings mean the same topics at the same broker.
    fn stays(&self, session: &Session) -> bool {
        let next = self.outside.settings.borrow();
        next.as_ref().is_some_and(|next| next.address() == session.broker && Names::new(next) == session.names)
    }

    async fn talk(
        &mut self,
        connection: &mut Connection,
        session: &mut Session,
        settings: &Mqtt,
    ) -> Result<End, String> {
        connection.send(&packet::subscribe(&session.names.filters())).await?;
        self.changes.mark_unchanged();
        let mut is_busy = self.tell(connection, session).await?;
        connection.send(&bytes(&[session.is_here()])).await?;
        output::log(&format!("connected to the MQTT broker at {}", settings.address()));
        self.said.clear();
        self.note(None).await;
        let mut heard = Instant::now();
        let mut asked = None;
        let mut due = is_busy.then(|| Instant::now() + WHILE_RUNNING);
        loop {
            let silent_until = asked.map_or(heard + KEEP_ALIVE, |asked: Instant| asked + PATIENCE);
            let happening = tokio::select! {
                packet = connection.read() => Happening::Packet(packet),
                _ = self.changes.changed() => Happening::Change,
                () = at(due) => Happening::Due,
                () = sleep_until(silent_until) => Happening::Silence,
                end = self.outside.end() => Happening::End(end),
            };
            match happening {
                Happening::End(end) => return Ok(end),
                Happening::Packet(packet) => {
                    // Whatever it says, it is there.
                    let packet = packet?;
                    if packet == Packet::Pong {
                        (heard, asked) = (Instant::now(), None);
                    }
                    self.heard(packet, connection, session, &mut due).await?;
                }
                Happening::Change => {
                    let soon = Instant::now() + SETTLING;
                    due = Some(due.map_or(soon, |due| due.min(soon)));
                }
                Happening::Due => {
                    is_busy = self.tell(connection, session).await?;
                    due = is_busy.then(|| Instant::now() + WHILE_RUNNING);
                }
                Happening::Silence if asked.is_some() => return Err("does not answer any more".to_owned()),
                Happening::Silence => {
                    connection.send(packet::PING).await?;
                    asked = Some(Instant::now());
                }
            }
        }
    }

    /// What somebody says at the broker.
    async fn heard(
        &mut self,
        packet: Packet,
        connection: &mut Connection,
        session: &mut Session,
        due: &mut Option<Instant>,
    ) -> Result<(), String> {
        match packet {
            // The last will of a connection that was thought to be lost comes late.
            Packet::Publish { topic, payload, .. }
                if topic == session.names.availability() && *payload != *ONLINE.as_bytes() =>
            {
                connection.send(&bytes(&[session.is_here()])).await?;
            }
            // What the broker kept was said before we were here.
            Packet::Publish { is_retained: true, .. } => {}
            Packet::Publish { topic, payload, .. }
                if topic == session.names.birth() && *payload == *ONLINE.as_bytes() =>
            {
                session.outbox.forget();
                *due = Some(Instant::now() + SETTLING);
            }
            Packet::Publish { topic, payload, .. } if *payload == *PRESS.as_bytes() => {
                let jobs = session.status.iter().flat_map(|status| &status.jobs);
                if let Some(order) = session.names.order(&topic, jobs.map(|job| job.name.as_str())) {
                    let service = Arc::clone(&self.service);
                    let done = spawn_blocking(move || service.order(order, Timestamp::now())).await;
                    // Somebody may press all the time.
                    let is_told = self.refused.is_some_and(|told| told.elapsed() < QUIET);
                    if let Ok(Err(refusal)) = done
                        && !is_told
                    {
                        self.refused = Some(Instant::now());
                        output::log(&format!("warning: a button in Home Assistant did nothing: {}", refusal.message));
                    }
                }
            }
            Packet::SubAck(codes) if codes.iter().any(|code| *code >= 0x80) && !session.is_refused => {
                session.is_refused = true;
                output::log(
                    "warning: the MQTT broker does not let Haul subscribe, so Home Assistant's buttons do nothing; \
                     check the broker's access rules",
                );
                let what =
                    format!("the broker at {} does not let Haul subscribe, so buttons do nothing", session.broker);
                self.note(Some(what)).await;
            }
            _ => {}
        }
        Ok(())
    }

    /// Sends what has changed. Returns whether something runs, so that there will be more before long.
    async fn tell(&mut self, connection: &mut Connection, session: &mut Session) -> Result<bool, String> {
        let (service, told) = (Arc::clone(&self.service), self.told);
        let look = move || {
            let mut events = service.events(None, MOST_EVENTS);
            events.retain(|event| event.id > told);
            (service.status(&clock::now()), events)
        };
        let (status, events): (Status, Vec<Event>) =
            spawn_blocking(look).await.map_err(|_| "could not be told what there is".to_owned())?;
        let teller = Teller { names: &session.names, page: self.page.as_deref() };
        let before = session.outbox.kept().clone();
        let mut messages = session.outbox.changes(teller.all(&status));
        messages.extend(events.iter().rev().flat_map(|event| teller.event(event, &status)));
        connection.send(&bytes(&messages)).await?;
        if *session.outbox.kept() != before {
            // It only matters when a job or the topic is another one at the next start.
            let mut kept = session.outbox.kept().clone();
            kept.insert(session.names.availability());
            let _ = self.memory.save(&session.broker, &kept);
        }
        self.told = events.first().map_or(self.told, |event| event.id);
        let is_busy = status.jobs.iter().any(|job| !job.running.is_empty());
        session.status = Some(status);
        Ok(is_busy)
    }
}

/// What is known while a connection lasts.
struct Session {
    names: Names,
    broker: String,
    outbox: Outbox,
    // As it was told last.
    status: Option<Status>,
    // The broker does not let us subscribe, and that was said.
    is_refused: bool,
}

impl Session {
    fn is_here(&self) -> Message {
        Message::kept(self.names.availability(), ONLINE.to_owned())
    }

    /// Takes back everything that the broker keeps.
    fn everything_back(&mut self) -> Vec<Message> {
        let mut messages = self.outbox.changes(Vec::new());
        messages.push(Message::nothing(self.names.availability()));
        messages
    }
}

/// Connects as the service would, and says what happened.
pub(super) async fn try_out(settings: &Mqtt) -> Result<Vec<String>, String> {
    let names = Names::new(settings);
    let client = client();
    // No last will: the service that is online already is not gone when a try breaks off.
    let mut connection = Connection::open(settings, &client, None).await?;
    let mut lines = vec![match &settings.username {
        Some(user) => format!("the broker at {} lets {user} in", settings.address()),
        None => format!("the broker at {} lets Haul in without a login", settings.address()),
    }];
    connection.send(&packet::subscribe(&names.filters())).await?;
    let listens = loop {
        if let Packet::SubAck(codes) = connection.read().await? {
            break codes.iter().all(|code| *code < 0x80);
        }
    };
    connection.close().await;
    if !listens {
        return Err("does not let Haul subscribe, so buttons would do nothing: check its access rules".to_owned());
    }
    lines.push("Haul may listen to the buttons in Home Assistant".to_owned());
    Ok(lines)
}

fn bytes(messages: &[Message]) -> Vec<u8> {
    messages.iter().flat_map(|message| packet::publish(&message.topic, &message.payload, message.is_retained)).collect()
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => pending().await,
    }
}
