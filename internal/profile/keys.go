package profile

// The keys under which a profile's values are stored. Inner keys are shown here, and
// written out where they are used.
//
// CrossWatch encrypts the members named account_token, pms_token, home_pin and secret at
// any depth, so every token, key and Home PIN is stored under one of these names. The id
// and code of a pending PIN keep CrossWatch's names, which it does not encrypt.

// The members that CrossWatch knows as well.
const (
	keyInstances    = "instances"        // the other profiles by id; in the default profile only
	keyServerURL    = "server_url"       // address of the media server
	keyVerifySSL    = "verify_ssl"       // false: the certificate at a typed address is not checked; never written here
	keyAccountToken = "account_token"    // token for plex.tv
	keyServerToken  = "pms_token"        // token for the media server
	keyTokenServer  = "pms_token_server" // address of the server that pms_token is for
	keyClientID     = "client_id"        // X-Plex-Client-Identifier of long-lived tokens
	keyMachineID    = "machine_id"       // which media server it is
	keyUsername     = "username"         // name of the user that the profile works for
	keyServerUserID = "account_id"       // the media server's number of that user
	keyHomePIN      = "home_pin"         // Home PIN of that user; plexauth only empties and restores it

	// keyAccount is the account that owns account_token, and its number at plex.tv:
	//	{"account_id": …, "bound_to": …, "user": {"id": …, "name": …}}
	// Only the number is CrossWatch's.
	keyAccount = "_cloud"
	// keyPendingPIN is the pending PIN, with its device key and its approved token:
	//	{"id": …, "code": …, "created": …, "client_id": …, "secret": …, "account_token": …, …}
	// The first three are CrossWatch's.
	keyPendingPIN = "_pending_pin"
)

// The members that only plexauth knows.
const (
	keyNextClientID   = "_next_client_id"     // identifier of the next PIN; in the default profile only
	keyDeviceClientID = "device_client_id"    // identifier of a device key that was removed, for the next one
	keyRejected       = "_rejected"           // fingerprint of a token that plex.tv has rejected
	keyChecked        = "_checked"            // when a program that watches last asked plex.tv about account_token
	keyForeign        = "_foreign"            // fingerprint of a token that was not made under client_id, as far as is known
	keyRefusedPIN     = "_refused_pin"        // fingerprint of the last PIN that another account has approved
	keyPanelPIN       = "_cancelled_pin"      // when the panel last had a PIN made; formerly of cancelled PINs only, hence the name
	keyFound          = "server_url_found"    // the server_url that plexauth found; empty if a person typed it
	keyUnverifiedFor  = "verify_ssl_server"   // the only address that verify_ssl: false counts for
	keyCertificate    = "_server_certificate" // "<hash> <machine> <address>" of a plex.direct certificate at another name
	keyTakesJWT       = "_jwt_server"         // "<machine> <address>" of the server that has accepted a device's JWT

	// keyStash is what belongs to the owner of the token before, while the present owner
	// is unknown:
	//	{"cloud_account_id": …, "username": …, "account_id": …, "home_pin": …,
	//	 "pms_token": …, "pms_token_server": …, "retired": …}
	keyStash = "_was"
	// keyHomeUser is the member of the account's Plex Home that the profile works for:
	//	{"id": …, "name": …, "account": …}
	keyHomeUser = "_home_user"
	// keyKnownServer is the server that answered, its owner, and the account that it was
	// chosen for; in older versions the number of that account alone:
	//	{"account": …, "url": …, "machine_id": …, "owner": …}
	keyKnownServer = "_server_account"
	// keyDevice is the device key. Its token stands in account_token, where CrossWatch and
	// Settings look for it:
	//	{"client_id": …, "kid": …, "secret": …, "asked": …, "bound_to": …, "scope": …,
	//	 "clock_skew": …, "leased_until_ms": …}
	keyDevice = "_device"
	// keyWrongPINs counts the wrong Home PINs of each user; in the default profile only:
	//	{"<uuid>": {"wrong": …, "at": …}}
	keyWrongPINs = "_home_pin_tries"
)
