//! Signing in where a password is not enough: a person types a code at the provider, and the service waits for that.
//! There is one sign-in at a time, and every page shows it: a tab that is closed loses nothing.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use keeper::{
    service::{Order, Service},
    status::Level,
};
use store::{
    Cancellation, Options, Secret,
    gdrive::{
        self, Settings,
        auth::{DeviceCode, HOW_TO_GET_A_CLIENT, TokenFile},
    },
};
use web::backend::{Filled, Invalid, SignIn};

use super::{
    kinds,
    typed::{invalid, known_options, of, typed},
};
use crate::{
    config::Config,
    destination::{Network, state_directory},
    failure::Failure,
    output,
    serve::doing::reason,
    text,
};

const PLACE: &str = "Google Drive";
/// What a user can do who has no client.
const NEEDED: &str = "the words beside the field say how to make one, once";
const THREAD: &str = "haul-sign-in";
/// The key of a location that says where its sign-in is kept.
const TOKEN_FILE: &str = "token_file";

/// A sign-in for a location that is not saved yet is kept beside the one that others use, under a name that ends so.
const ASIDE: &str = "unsaved";

fn aside(token: &Path) -> PathBuf {
    token.with_added_extension(ASIDE)
}

/// The sign-in that waits or has ended.
pub(in crate::serve) struct SigningIn {
    current: Mutex<Option<Current>>,
    /// Who begins one takes turns, and does not hold up who looks.
    beginning: Mutex<()>,
    service: Arc<Service>,
}

struct Current {
    /// Where it will be kept, and in whose name.
    of: (PathBuf, Option<String>),
    cancel: Cancellation,
    state: SignIn,
}

impl SigningIn {
    pub(in crate::serve) fn new(service: &Arc<Service>) -> Arc<Self> {
        // Of an earlier run, whose location nobody saved.
        let _ = fs::remove_file(aside(&state_directory().join(gdrive::TOKEN_FILE)));
        Arc::new(Self { current: Mutex::default(), beginning: Mutex::default(), service: Arc::clone(service) })
    }

    fn current(&self) -> MutexGuard<'_, Option<Current>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it stands.
    pub(super) fn state(&self) -> Option<SignIn> {
        self.current().as_ref().map(|current| current.state.clone())
    }

    /// Ends it, and forgets how it ended.
    pub(super) fn end(&self) {
        if let Some(current) = self.current().take() {
            current.cancel.cancel();
            // What can't be removed is replaced by the next one.
            let _ = TokenFile::new(&aside(&current.of.0)).remove();
        }
        self.service.show_anew();
    }

    /// Forgets one that has ended.
    pub(super) fn forget(&self) {
        self.current().take_if(|current| !matches!(current.state, SignIn::Waiting { .. }));
    }

    /// Begins one.
    pub(super) fn begin(self: &Arc<Self>, config: &Config, location: &Filled) -> Result<SignIn, Invalid> {
        if location.kind != kinds::GDRIVE {
            return Err(invalid("kind", "nobody has to sign in for a location of this kind", None));
        }
        let _turn = self.beginning.lock().unwrap_or_else(PoisonError::into_inner);
        let cancel = Cancellation::default();
        let network = Network::start(None, &cancel).map_err(|failure| of(&failure))?;
        let mut settings = settings(config, location, &network)?;
        let is_for = (settings.token_file.clone(), settings.client_id.clone());
        match &*self.current() {
            Some(Current { of, state, .. }) if matches!(state, SignIn::Waiting { .. }) => {
                if *of == is_for {
                    return Ok(state.clone());
                }
                let hint = "finish or cancel that one first";
                return Err(invalid(kinds::CLIENT_ID, "another sign-in waits for its code", Some(hint)));
            }
            _ => {}
        }
        let asking = gdrive::auth::SignIn::new(&settings, &network.context).map_err(refused)?;
        // Others may use the one that is there, as long as nobody has saved this location.
        if location.keeps.is_none() && is_signed_in(&settings) {
            settings.token_file = aside(&settings.token_file);
        }
        let code = network.bridge.wait(asking.start()).map_err(refused)?;
        let until = Timestamp::now().saturating_add(code.expires).unwrap_or(Timestamp::MAX);
        let state = SignIn::Waiting { address: code.verification_url.clone(), code: code.user_code.clone(), until };
        *self.current() = Some(Current { of: is_for, cancel: cancel.clone(), state: state.clone() });
        let signing = Arc::clone(self);
        let wait = move || signing.wait(&asking, &code, &settings, &network);
        if let Err(error) = std::thread::Builder::new().name(THREAD.to_owned()).spawn(wait) {
            self.end();
            let why = format!("can't start a thread: {}", engine::plain_reason(&error));
            return Err(of(&Failure::new(crate::failure::FAILED, why)));
        }
        self.service.show_anew();
        Ok(state)
    }

    /// Waits for the person, keeps what the provider gives, and says whose it is.
    fn wait(&self, asking: &gdrive::auth::SignIn, code: &DeviceCode, settings: &Settings, network: &Network) {
        let cancel = &network.context.cancel;
        let granted = network.bridge.wait(asking.wait(code)).map_err(Failure::from);
        let kept = {
            // Who cancels at this moment cancels before, or after it is kept.
            let _current = self.current();
            if cancel.is_cancelled() {
                return;
            }
            granted.and_then(|grant| Ok(TokenFile::new(&settings.token_file).save(&grant)?))
        };
        let signed_in = kept.and_then(|()| Ok(network.bridge.wait(gdrive::account(settings, &network.context))?));
        let state = match signed_in {
            Ok(account) => {
                let name = account.name.map_or_else(String::new, |name| format!(" of {}", text::sanitize(&name)));
                let free = account.free.map_or_else(String::new, |free| format!(", {} free", text::bytes(free)));
                let message = format!("signed in to {PLACE}{name}{free}");
                self.service.happened(Level::Ok, "sign-in", &message, Timestamp::now());
                // What waited for it goes on.
                let _ = self.service.order(Order::Sync, Timestamp::now());
                SignIn::Done { message }
            }
            Err(failure) => {
                let failure = reason(&failure);
                SignIn::Failed { message: failure.message, hint: failure.hint.map(on_the_page) }
            }
        };
        if let Some(current) = self.current().as_mut().filter(|_| !cancel.is_cancelled()) {
            current.state = state;
        }
        self.service.show_anew();
    }
}

/// What is known of a location, under what was typed.
fn settings(config: &Config, location: &Filled, network: &Network) -> Result<Settings, Invalid> {
    let options = Options::new(known_options(config, location));
    let mut settings = Settings::new(PLACE, &options, &network.context).map_err(|error| of(&Failure::from(error)))?;
    match (typed(location, kinds::CLIENT_ID), typed(location, kinds::CLIENT_SECRET)) {
        (Some(_), None) => return Err(invalid(kinds::CLIENT_SECRET, "the client's secret is missing", Some(NEEDED))),
        (None, Some(_)) => return Err(invalid(kinds::CLIENT_ID, "the client's ID is missing", Some(NEEDED))),
        (Some(id), Some(secret)) => {
            settings.client_id = Some(id.to_string());
            settings.client_secret = Some(Secret::new(secret.as_str()));
        }
        (None, None) if settings.client_id.is_none() && !is_signed_in(&settings) => {
            let message = "signing in needs a client ID of your own";
            return Err(invalid(kinds::CLIENT_ID, message, Some(NEEDED)));
        }
        (None, None) => {}
    }
    Ok(settings)
}

fn is_signed_in(settings: &Settings) -> bool {
    TokenFile::new(&settings.token_file).load().is_ok_and(|grant| grant.is_some())
}

/// Refuses a Drive that nobody has signed in to. A sign-in that waits for the location to be saved is the one to try.
pub(super) fn check(options: &mut BTreeMap<String, String>) -> Result<(), Invalid> {
    let network = Network::start(None, &Cancellation::default()).map_err(|failure| of(&failure))?;
    let mut settings = Settings::new(PLACE, &Options::new(options.clone()), &network.context)
        .map_err(|error| of(&Failure::from(error)))?;
    let token = settings.token_file.clone();
    settings.token_file = aside(&token);
    if is_signed_in(&settings) {
        options.insert(TOKEN_FILE.to_owned(), settings.token_file.to_string_lossy().into_owned());
        return Ok(());
    }
    settings.token_file = token;
    if is_signed_in(&settings) {
        return Ok(());
    }
    Err(invalid(kinds::CLIENT_ID, "nobody has signed in to Google on this machine yet", Some("sign in first")))
}

/// The location is saved: its sign-in is the one that counts now.
pub(super) fn keep_or_say(config: &Config, location: &Filled) {
    if let Err(Invalid { failure, .. }) = keep(config, location) {
        output::log(&format!(
            "warning: the sign-in to Google Drive was not kept, so sign in again: {}",
            failure.message
        ));
    }
}

fn keep(config: &Config, location: &Filled) -> Result<(), Invalid> {
    if location.kind != kinds::GDRIVE {
        return Ok(());
    }
    let network = Network::start(None, &Cancellation::default()).map_err(|failure| of(&failure))?;
    let options = Options::new(known_options(config, location));
    let token = Settings::new(PLACE, &options, &network.context).map_err(|error| of(&Failure::from(error)))?.token_file;
    match fs::rename(aside(&token), &token) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            let why = format!("can't write {}: {}", token.display(), engine::plain_reason(&error));
            Err(of(&Failure::new(crate::failure::FAILED, why).hint("make its directory writable for this user")))
        }
        _ => Ok(()),
    }
}

/// What the provider says against it concerns the client.
fn refused(error: store::StoreError) -> Invalid {
    let field = (!error.is_transient()).then(|| kinds::CLIENT_ID.to_owned());
    let failure = reason(&error.into());
    let hint = failure.hint.map(on_the_page);
    Invalid { field, failure: keeper::status::Failure { hint, ..failure }, offer: None }
}

/// Advice that names no command.
fn on_the_page(hint: String) -> String {
    if hint == HOW_TO_GET_A_CLIENT { NEEDED.to_owned() } else { hint }
}
