package main

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"github.com/cli/oauth/api"
	"github.com/cli/oauth/device"
	"golang.org/x/oauth2"

	"github.com/plexauth/plexauth/internal/measure"
)

const grantType = "urn:ietf:params:oauth:grant-type:device_code"

// xoauth2 is the device flow of golang.org/x/oauth2.
type xoauth2 struct {
	ctx    context.Context // carries the HTTP client, as that package requires
	config oauth2.Config
	plain  *plain // reads the account, which the package does not
}

func newXOAuth2(c *http.Client, origin string) *xoauth2 {
	return &xoauth2{
		ctx: context.WithValue(context.Background(), oauth2.HTTPClient, c),
		config: oauth2.Config{ClientID: measure.ClientID, Endpoint: oauth2.Endpoint{
			DeviceAuthURL: origin + codePath, TokenURL: origin + tokenPath, AuthStyle: oauth2.AuthStyleInParams,
		}},
		plain: newPlain(c, origin),
	}
}

func (x *xoauth2) create() (*oauth2.DeviceAuthResponse, error) { return x.config.DeviceAuth(x.ctx) }

// check asks once, without the second that DeviceAccessToken waits before. Exchange sends
// the same form through the same function.
func (x *xoauth2) check(d *oauth2.DeviceAuthResponse) (*oauth2.Token, error) {
	t, err := x.config.Exchange(x.ctx, "", oauth2.SetAuthURLParam("grant_type", grantType), oauth2.SetAuthURLParam("device_code", d.DeviceCode))
	var e *oauth2.RetrieveError
	if errors.As(err, &e) && e.ErrorCode == "authorization_pending" {
		return nil, nil
	}
	return t, err
}

func (x *xoauth2) login(ctx context.Context) error {
	d, err := x.create()
	if err != nil {
		return err
	}
	t, err := x.check(d)
	if err != nil {
		return err
	}
	_, err = x.plain.User(ctx, t.AccessToken)
	return err
}

func (x *xoauth2) wait(ctx context.Context, d *oauth2.DeviceAuthResponse) error {
	t, err := x.config.DeviceAccessToken(context.WithValue(ctx, oauth2.HTTPClient, x.ctx.Value(oauth2.HTTPClient)), d)
	if err != nil {
		return err
	}
	_, err = x.plain.User(ctx, t.AccessToken)
	return err
}

// cliOAuth is the device flow of github.com/cli/oauth.
type cliOAuth struct {
	http   *http.Client
	origin string
	plain  *plain
}

func newCLIOAuth(c *http.Client, origin string) *cliOAuth {
	return &cliOAuth{http: c, origin: origin, plain: newPlain(c, origin)}
}

func (x *cliOAuth) create() (*device.CodeResponse, error) {
	return device.RequestCode(x.http, x.origin+codePath, measure.ClientID, nil)
}

// check asks once, without the pause that Wait makes before. It sends the same form through
// the same functions.
func (x *cliOAuth) check(d *device.CodeResponse) (*api.AccessToken, error) {
	resp, err := api.PostForm(x.http, x.origin+tokenPath, url.Values{
		"client_id": {measure.ClientID}, "device_code": {d.DeviceCode}, "grant_type": {grantType},
	})
	if err != nil {
		return nil, err
	}
	t, err := resp.AccessToken()
	var e *api.Error
	if errors.As(err, &e) && e.Code == "authorization_pending" {
		return nil, nil
	}
	return t, err
}

func (x *cliOAuth) login(ctx context.Context) error {
	d, err := x.create()
	if err != nil {
		return err
	}
	t, err := x.check(d)
	if err != nil {
		return err
	}
	if t == nil {
		return errors.New("no token")
	}
	_, err = x.plain.User(ctx, t.Token)
	return err
}

func (x *cliOAuth) wait(ctx context.Context, d *device.CodeResponse) error {
	t, err := device.Wait(ctx, x.http, x.origin+tokenPath, device.WaitOptions{ClientID: measure.ClientID, DeviceCode: d})
	if err != nil {
		return err
	}
	_, err = x.plain.User(ctx, t.Token)
	return err
}
