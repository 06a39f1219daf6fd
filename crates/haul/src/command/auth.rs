//! `haul auth`: signs in once, with the user's help, where a password is not enough.

use std::collections::BTreeMap;

use store::{
    Cancellation, Options,
    gdrive::{
        self, Settings,
        auth::{self, SignIn, TokenFile},
    },
};

use crate::{
    args::{AuthArgs, GdriveArgs},
    config::Config,
    destination::{self, Network},
    failure::{DONE, FAILED, Failure},
    output, text,
};

const PLACE: &str = "Google Drive";

pub(crate) fn run(args: &AuthArgs, config: &Config, cancel: &Cancellation) -> Result<u8, Failure> {
    match args {
        AuthArgs::Gdrive(args) => {
            let network = Network::start(None, cancel)?;
            let settings = Settings::new(PLACE, &options(args, config)?, &network.context)?;
            if args.forget {
                forget(&settings, &network)
            } else if args.status {
                show(&settings, &network)
            } else {
                sign_in(&settings, &network)
            }
        }
    }
}

/// The settings of the destination, if one was named, under those of the command line.
fn options(args: &GdriveArgs, config: &Config) -> Result<Options, Failure> {
    let mut all = BTreeMap::new();
    if let Some(name) = &args.destination {
        let named = destination::resolve(config, name)?.options;
        all.extend(named.keys().filter_map(|key| Some((key.to_owned(), named.get(key)?.to_owned()))));
    }
    let file = args.client_secret_file.as_ref().map(|path| path.display().to_string());
    for (key, value) in [("client_id", args.client_id.clone()), ("client_secret_file", file)] {
        all.extend(value.map(|value| (key.to_owned(), value)));
    }
    Ok(Options::new(all))
}

fn sign_in(settings: &Settings, network: &Network) -> Result<u8, Failure> {
    let sign_in = SignIn::new(settings, &network.context)?;
    let code = network.bridge.wait(sign_in.start())?;
    output::lines(&[
        format!("On any device, open  {}", code.verification_url),
        format!("and type             {}", code.user_code),
        format!("Waiting for it, at most {} …", text::duration(code.expires.as_secs_f64())),
    ])?;
    let grant = network.bridge.wait(sign_in.wait(&code))?;
    TokenFile::new(&settings.token_file).save(&grant)?;
    show(settings, network)
}

/// Tries what is kept, and says whose it is and where.
fn show(settings: &Settings, network: &Network) -> Result<u8, Failure> {
    let account = network.bridge.wait(gdrive::account(settings, &network.context))?;
    let name = account.name.map_or_else(String::new, |name| format!(" of {name}"));
    let free = account.free.map_or_else(|| "without a limit".to_owned(), |free| format!("{} free", text::bytes(free)));
    output::lines(&[
        format!("Signed in to {PLACE}{name}, {free}"),
        format!("Kept in {}, readable by this user only", settings.token_file.display()),
    ])?;
    Ok(DONE)
}

fn forget(settings: &Settings, network: &Network) -> Result<u8, Failure> {
    let file = TokenFile::new(&settings.token_file);
    let grant = match file.load() {
        Ok(None) => {
            output::lines(&["Nobody has signed in on this machine".to_owned()])?;
            return Ok(DONE);
        }
        Ok(grant) => grant,
        // What can't be understood can still be removed.
        Err(_) => None,
    };
    let revoked = grant.map(|grant| network.bridge.wait(auth::revoke(settings, &network.context, &grant)));
    file.remove()?;
    if let Some(Err(error)) = revoked {
        return Err(Failure::new(
            FAILED,
            format!("{} was removed, but Google was not told: {error}", settings.token_file.display()),
        )
        .hint("take the access back at myaccount.google.com/connections"));
    }
    output::lines(&[format!("Signed out, and {} removed", settings.token_file.display())])?;
    Ok(DONE)
}
