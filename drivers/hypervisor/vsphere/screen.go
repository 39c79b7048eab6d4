// This file takes pictures of machines' screens.

package vsphere

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

const (
	screenBound = 15 * time.Second // the host asks the machine's process for the picture
	maxScreen   = 32 << 20
)

var pngMagic = []byte("\x89PNG\r\n\x1a\n")

// Screenshot takes a picture of the machine's screen, as PNG.
func (d *Driver) Screenshot(ctx context.Context, vm string) ([]byte, error) {
	r, err := d.vm(ctx, vm)
	if err != nil {
		return nil, fmt.Errorf("taking a picture of %s: %w", vm, err)
	}
	var picture []byte
	err = d.api.callFor(ctx, screenBound, func(ctx context.Context, v *visit) (err error) {
		u := v.URL()
		u.Path, u.RawQuery = "/screen", url.Values{"id": {r.Value}}.Encode()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
		if err != nil {
			return err
		}
		res, err := v.Client.Client.Client.Do(req) // with the session's cookie
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if res.StatusCode == http.StatusNotFound {
			return errors.New("the server gives no pictures of screens, or none of this machine: 404 Not Found")
		}
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("the server gives no picture: %s", res.Status)
		}
		picture, err = io.ReadAll(io.LimitReader(res.Body, maxScreen))
		return err
	})
	if err == nil && !bytes.HasPrefix(picture, pngMagic) {
		err = errors.New("what the server gives is no PNG")
	}
	if err != nil {
		return nil, fmt.Errorf("taking a picture of %s: %w", vm, err)
	}
	return picture, nil
}
